"""Which nodes a sync waits for, and what it says of those that are away or have another schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest

from store_manager.database.health import Health, NodeHealth
from store_manager.schema import agreements
from store_manager.schema.agreements import require_agreement, require_nodes
from store_manager.schema.faults import NodeAway, SchemaDisagreement

if TYPE_CHECKING:
    from store_manager.database.connections import Database

A, B = "10.0.0.1", "10.0.0.2"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreements, "SILENCE_S", 0.0)
    monkeypatch.setattr(agreements, "AGREEMENT_S", 0.0)
    monkeypatch.setattr(agreements, "POLL_S", 0.001)


def node(address: str, schema: str | None, *, up: bool = True) -> NodeHealth:
    return NodeHealth(address, "dc1", up, None if schema is None else 0.0, schema)


def cluster(*moments: tuple[NodeHealth, ...]) -> Database:
    """Return a database whose nodes say this, one moment after the other, and then the last for ever."""
    left = list(moments)
    database: Database = Mock()
    database.health = lambda: Health(left.pop(0) if len(left) > 1 else left[0])  # type: ignore[method-assign]
    return database


def test_nodes_that_answer_are_waited_for_no_longer() -> None:
    require_nodes(cluster((node(A, "x"), node(B, "x"))))


def test_a_node_that_is_silent_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreements, "SILENCE_S", 60.0)
    require_nodes(cluster((node(A, "x"), node(B, None)), (node(A, "x"), node(B, "x"))))


def test_a_node_that_stays_silent_is_named_with_how_to_go_on_without_it() -> None:
    with pytest.raises(NodeAway, match=f"No answer from {B}, so nothing more was run: .*--without {B}"):
        require_nodes(cluster((node(A, "x"), node(B, None, up=False))))


def test_a_node_that_is_known_to_be_gone_is_not_waited_for() -> None:
    require_nodes(cluster((node(A, "x"), node(B, None, up=False))), without=(B,))
    require_agreement(cluster((node(A, "x"), node(B, None, up=False))), without=(B,))


def test_of_the_nodes_that_are_left_out_the_driver_gives_up_those_that_do_not_answer() -> None:
    database = cluster((node(A, "x"), node(B, None), node("10.0.0.3", "x")))
    require_nodes(database, without=(B, "10.0.0.3"))
    cast("Mock", database.give_up).assert_called_once_with([B])
    require_nodes(cluster((node(A, "x"),)), without=(B,))


def test_nodes_that_agree_after_a_while_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreements, "AGREEMENT_S", 60.0)
    require_agreement(cluster((node(A, "x"), node(B, "y")), (node(A, "y"), node(B, "y"))))


def test_nodes_that_do_not_agree_are_named_with_what_each_has() -> None:
    with pytest.raises(SchemaDisagreement, match=f"{A} has x, {B} has y"):
        require_agreement(cluster((node(A, "x"), node(B, "y"))))


def test_a_node_that_does_not_say_which_schema_it_has_does_not_agree() -> None:
    with pytest.raises(SchemaDisagreement, match=f"{B} does not answer"):
        require_agreement(cluster((node(A, "x"), node(B, None))))
    with pytest.raises(SchemaDisagreement, match=f"{A} does not answer"):
        require_agreement(cluster((node(A, None),)))
