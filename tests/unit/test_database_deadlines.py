"""Deadlines and tallies: what the work at hand may take, and what it took."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from store_manager.database.deadlines import deadline, remaining_s
from store_manager.database.tallies import count, tally


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def rest() -> float:
    left = remaining_s()
    assert left is not None
    return left


def test_without_a_deadline_nothing_is_limited() -> None:
    assert remaining_s() is None


def test_a_deadline_is_a_moment_not_a_duration(clock: list[float]) -> None:
    with deadline(10):
        clock[0] += 4
        assert rest() == 6
        clock[0] += 7
        assert rest() == -1
    assert remaining_s() is None


def test_of_nested_deadlines_the_earlier_one_counts(clock: list[float]) -> None:
    with deadline(10):
        with deadline(2):
            assert rest() == 2
        with deadline(60):
            assert rest() == 10
        clock[0] += 1
        assert rest() == 9


def test_a_thread_in_a_copy_of_the_context_has_the_same_deadline_and_tally(clock: list[float]) -> None:
    seen: list[float] = []

    def work() -> None:
        seen.append(rest())
        count(0.5)

    with deadline(10), tally() as counted:
        clock[0] += 3
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [7] * 4
    assert (counted.statements, counted.seconds) == (4, 2.0)


def test_an_inner_tally_counts_into_the_outer_one() -> None:
    with tally() as outer:
        count(1)
        with tally() as inner:
            count(2)
    assert (inner.statements, inner.seconds) == (1, 2)
    assert (outer.statements, outer.seconds) == (2, 3)


def test_without_a_tally_nothing_is_counted() -> None:
    count(1)
    with tally() as counted:
        pass
    assert counted.statements == 0
