"""A node lives as long as its heartbeat moves in the eyes of another, whoever of them answers the service."""

from __future__ import annotations

import pytest

from store_manager.database.heartbeats import CLOSE, STILL_S, Beat, Heartbeats


class Clock:
    """Goes on only when it is told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heartbeats(clock: Clock) -> Heartbeats:
    return Heartbeats(clock)


def seen(heartbeats: Heartbeats, by_one: int, *, own: int | None = None, generation: int = 1) -> bool | None:
    """Whether node 1 sees node 2, whose heartbeat it knows as `by_one`; `own` is what node 2 says of itself."""
    told = {"1": {"1": Beat(1, 50), "2": Beat(generation, by_one)}}
    if own is not None:
        told["2"] = {"2": Beat(1, own), "1": Beat(1, 50)}
    return heartbeats.judge(told)["1"]["2"]


def test_at_the_first_look_a_node_that_answers_is_seen_by_whoever_knows_its_present_heartbeat(
    heartbeats: Heartbeats,
) -> None:
    assert seen(heartbeats, 100, own=100 + CLOSE) is True


def test_at_the_first_look_nothing_is_known_of_a_node_that_does_not_answer(heartbeats: Heartbeats) -> None:
    assert seen(heartbeats, 100) is None


def test_a_node_whose_heartbeat_moves_is_alive_though_it_does_not_answer_the_service(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 100)
    clock.now_s += 1

    assert seen(heartbeats, 101) is True


def test_a_node_whose_heartbeat_stands_still_is_away_but_not_before_it_was_watched_for_long_enough(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 100)
    clock.now_s += STILL_S
    assert seen(heartbeats, 100) is None
    clock.now_s += 0.1
    assert seen(heartbeats, 100) is False


def test_a_node_that_was_alive_counts_as_alive_until_its_heartbeat_has_stood_still_for_long_enough(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 100)
    seen(heartbeats, 101)
    clock.now_s += STILL_S
    assert seen(heartbeats, 101) is True
    clock.now_s += 0.1
    assert seen(heartbeats, 101) is False


def test_a_node_that_answers_but_is_cut_off_from_another_is_away_to_that_one_only(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 100, own=100)
    clock.now_s += STILL_S + 1
    told = {
        "1": {"1": Beat(1, 60), "2": Beat(1, 100), "3": Beat(1, 30)},
        "2": {"1": Beat(1, 50), "2": Beat(1, 200), "3": Beat(1, 30)},
        "3": {"1": Beat(1, 60), "2": Beat(1, 200), "3": Beat(1, 30)},
    }

    found = heartbeats.judge(told)

    assert (found["1"]["2"], found["3"]["2"], found["2"]["3"]) == (False, True, True)


def test_a_node_that_started_again_is_alive_though_its_heartbeat_is_lower_than_before(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 500)
    clock.now_s += 60

    assert seen(heartbeats, 3, generation=2) is True


def test_a_node_that_started_again_is_not_seen_by_one_that_knows_only_its_former_life(
    heartbeats: Heartbeats, clock: Clock
) -> None:
    seen(heartbeats, 500)
    clock.now_s += STILL_S + 1
    told = {"1": {"2": Beat(1, 500)}, "2": {"2": Beat(2, 3)}}

    assert heartbeats.judge(told)["1"]["2"] is False


def test_nobody_is_asked_about_himself(heartbeats: Heartbeats) -> None:
    assert heartbeats.judge({"1": {"1": Beat(1, 1)}}) == {"1": {}}
