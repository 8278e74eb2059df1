"""The schema's tools without a cluster: when a lock may be taken over, what a person is asked, what is said."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from store_manager.cli import schema as verbs
from store_manager.models import MODELS
from store_manager.schema import locks
from store_manager.schema.books import SCHEMA_MODELS
from store_manager.schema.comparisons import TOOL_TABLES
from store_manager.schema.faults import ConfirmationMissing
from store_manager.schema.locks import LockState
from store_manager.schema.runs import Progress, Terms, say
from store_manager.schema.steps import Step
from store_manager.schema.syncs import Report

if TYPE_CHECKING:
    from store_manager.models import StoreModel

OTHER = UUID(int=1)
DROP = Step("drop column a.b", "ALTER TABLE s.a DROP b", "no Model declares it", destroys="column:a.b")


class Clock:
    """Time that only the test lets pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(locks, "_now_s", clock)
    return clock


def held(version: int, holder_id: UUID | None = OTHER) -> LockState:
    return LockState(version, holder_id, "elsewhere", "a sync", 10.0, None)


def test_a_lock_that_nobody_has_ever_held_or_that_was_given_back_may_be_taken(clock: Clock) -> None:
    assert clock.now_s
    assert locks._Watch(uuid4()).may_take(None)
    assert locks._Watch(uuid4()).may_take(held(7, None))


def test_a_lock_may_be_taken_over_once_one_version_has_stood_still_for_a_lease(clock: Clock) -> None:
    watch = locks._Watch(uuid4())
    assert not watch.may_take(held(7))
    clock.now_s += 9.9
    assert not watch.may_take(held(7))
    clock.now_s += 0.2
    assert watch.may_take(held(7))


def test_a_version_that_moves_begins_the_wait_anew(clock: Clock) -> None:
    watch = locks._Watch(uuid4())
    watch.may_take(held(7))
    clock.now_s += 9.9
    assert not watch.may_take(held(8))
    clock.now_s += 9.9
    assert not watch.may_take(held(8))


def test_a_lock_that_is_held_by_an_attempt_of_ours_may_be_taken(clock: Clock) -> None:
    assert clock.now_s
    watch = locks._Watch(OTHER)
    assert watch.may_take(held(7))


def test_a_holder_is_told_of_once_and_the_next_one_again(clock: Clock) -> None:
    watch = locks._Watch(uuid4())
    told = []
    for state in (held(7), held(8), held(9, uuid4())):
        watch.may_take(state)
        told.append(watch.is_news)
        clock.now_s += 1
    assert told == [True, False, True]


@pytest.mark.parametrize("model", SCHEMA_MODELS)
def test_the_tools_own_tables_are_left_alone_by_plans_and_say_what_they_serve(model: type[StoreModel]) -> None:
    assert model.__table_name__.startswith(TOOL_TABLES)
    assert model not in MODELS
    assert "Serves: " in (inspect.getdoc(model) or "")
    assert "partition" in (inspect.getdoc(model) or "")


def test_news_are_one_line_each() -> None:
    assert say(DROP) == "drop column a.b"
    assert say(Progress("0001_copy", "labels", 256, 1024, 50_000, 1234.5)) == (
        "0001_copy: labels: 25%, 50,000 rows, 1,234 rows/s"
    )


def missing(option: str, name: str) -> ConfirmationMissing:
    return ConfirmationMissing("It needs a word", option=option, name=name, question="Is this so?")


def sync_and_ask(monkeypatch: pytest.MonkeyPatch, outcomes: list[Any], typed: str, *, ask: bool = True) -> Any:
    """Return what the verb made of these outcomes of a sync, the terms of each, and what the person was asked."""
    sync = Mock(side_effect=outcomes)
    monkeypatch.setattr(verbs, "sync", sync)
    with CliRunner().isolation(input=typed) as (_, stderr, _output):
        report = verbs._sync_and_ask(Mock(), Mock(), Terms(), print, ask=ask)
        asked = stderr.getvalue().decode()
    return report, [call.kwargs["terms"] for call in sync.call_args_list], asked


def test_a_person_who_agrees_is_asked_once_and_the_sync_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [missing("--confirm", "gone"), missing("--allow", "table:old"), Report(applied=("0001_move",))]
    report, terms, asked = sync_and_ask(monkeypatch, outcomes, "y\ny\n")
    assert report.applied == ("0001_move",)
    assert (terms[-1].confirmed, terms[-1].allow) == (("gone",), ("table:old",))
    assert asked.count("Is this so?") == 2


def test_a_person_who_does_not_agree_ends_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfirmationMissing):
        sync_and_ask(monkeypatch, [missing("--confirm", "gone")], "n\n")


def test_where_nobody_can_be_asked_the_word_has_to_be_given_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfirmationMissing):
        sync_and_ask(monkeypatch, [missing("--confirm", "gone")], "y\n", ask=False)
    report, terms, asked = sync_and_ask(monkeypatch, [Report(left=(DROP,))], "y\n", ask=False)
    assert (report.left, len(terms), asked) == ((DROP,), 1, "")


def test_what_is_left_is_destroyed_only_if_a_person_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    report, terms, _ = sync_and_ask(monkeypatch, [Report(left=(DROP,)), Report(steps=(DROP,))], "y\n")
    assert (report.steps, report.left, terms[-1].allow) == ((DROP,), (), ("column:a.b",))
    report, terms, _ = sync_and_ask(monkeypatch, [Report(left=(DROP,))], "n\n")
    assert (report.steps, report.left, len(terms)) == ((), (DROP,), 1)


def test_a_person_is_asked_about_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(DROP, destroys="column:a.c")
    outcomes = [Report(left=(DROP, other)), Report(steps=(DROP,), left=(other,))]
    report, _, asked = sync_and_ask(monkeypatch, outcomes, "y\nn\n")
    assert (report.steps, report.left) == ((DROP,), (other,))
    assert asked.count("Shall it?") == 2
