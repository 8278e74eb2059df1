"""When several nodes are one cluster, judged by what each says."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest

from store_manager.lab.views import Observer, Peer, View, Watch

ONE, TWO = "127.0.7.1", "127.0.7.2"


def _view(
    beat: int, *, generation: int = 1, schema: str = "s1", status: str = "NORMAL", known: tuple[str, ...] = (ONE, TWO)
) -> View:
    peers = dict.fromkeys((ONE, TWO), Peer(status, generation, beat))
    return View(schema, dict.fromkeys(known, (0,)), peers)


def _watch(one: list[View | None], two: list[View | None]) -> Watch:
    """Return a watch that has looked as often as there are views."""
    watch = Watch([ONE, TWO])
    observers = [create_autospec(Observer, instance=True, address=address) for address in (ONE, TWO)]
    observers[0].look.side_effect = one
    observers[1].look.side_effect = two
    watch._observers = observers
    for _ in one:
        watch.look()
    return watch


def test_nodes_whose_heartbeats_move_and_that_agree_are_one_cluster() -> None:
    watch = _watch([_view(1), _view(2)], [_view(1), _view(2)])
    assert watch.missing() == []
    assert watch.state(ONE, TWO) == "UN"


def test_a_heartbeat_that_is_only_remembered_does_not_count() -> None:
    watch = _watch([_view(1), _view(1)], [_view(1), _view(2)])
    assert watch.missing() == [f"{ONE} does not see {address} as up and normal" for address in (ONE, TWO)]
    assert watch.state(ONE, TWO) == "DN"


def test_the_first_heartbeat_after_a_restart_proves_nothing_yet() -> None:
    watch = _watch([_view(500), _view(1, generation=2)], [_view(1), _view(2)])
    assert watch.state(ONE, TWO) == "DN"


def test_a_node_that_does_not_answer_is_named() -> None:
    watch = _watch([_view(1), _view(2)], [None, None])
    assert watch.missing() == [f"{TWO} does not answer CQL"]
    assert watch.answering == {ONE}
    assert watch.state(TWO, ONE) is None


def test_different_schemas_are_told() -> None:
    watch = _watch([_view(1), _view(2)], [_view(1, schema="s2"), _view(2, schema="s2")])
    assert watch.missing() == ["the nodes have 2 versions of the schema"]


def test_a_node_whose_tokens_another_one_does_not_know_is_not_up_for_it() -> None:
    watch = _watch([_view(1), _view(2)], [_view(1), _view(2, known=(TWO,))])
    assert watch.missing() == [f"{TWO} does not see {ONE} as up and normal"]


@pytest.mark.parametrize(("status", "state"), [("BOOT", "UJ"), ("LEAVING", "UL"), ("shutdown", "UN"), ("", "U?")])
def test_states_are_told_in_the_letters_of_nodetool(status: str, state: str) -> None:
    views: list[View | None] = [_view(1, status=status), _view(2, status=status)]
    assert _watch(views, list(views)).state(ONE, TWO) == state
