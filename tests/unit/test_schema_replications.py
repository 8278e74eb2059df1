"""How a keyspace comes from one replication to another without a majority that knows nothing of another."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.metadata import LocalStrategy, NetworkTopologyStrategy, SimpleStrategy

from store_manager.schema.replications import Ring, compare_replication
from store_manager.schema.steps import Safety
from store_manager.settings import Settings


@dataclass(frozen=True)
class Node:
    """As much of the driver's hosts as is asked for."""

    datacenter: str
    rack: str
    number: int


def ring(*racks: str, data_centres: tuple[str, ...] = ("dc1",)) -> Ring:
    """Nodes in these racks, in each data centre, which own one token each, in turn."""
    nodes = tuple(Node(one, rack, number) for one in data_centres for number, rack in enumerate(racks))
    owners = dict(enumerate(nodes))
    return Ring(nodes, SimpleNamespace(token_to_host_owner=owners, ring=list(owners)))


def keyspace(strategy: Any, *, durable: bool = True) -> Any:
    return SimpleNamespace(name="store", durable_writes=durable, replication_strategy=strategy)


def wanting(factor: int, datacenter: str = "dc1") -> Settings:
    return Settings(cassandra_replication_factor=factor, cassandra_datacenter=datacenter)


def network(**factors: int) -> NetworkTopologyStrategy:
    return NetworkTopologyStrategy(factors)


FOUR = ring("a", "a", "a", "a")


def test_a_keyspace_as_the_settings_say_needs_nothing() -> None:
    assert compare_replication(keyspace(network(dc1=3)), wanting(3), FOUR) == ([], [])


@pytest.mark.parametrize(("present", "wanted"), [(1, 3), (2, 3), (3, 2), (3, 1), (1, 4)])
def test_the_number_of_copies_moves_by_one_and_the_rest_is_told(present: int, wanted: int) -> None:
    (step,), _ = compare_replication(keyspace(network(dc1=present)), wanting(wanted), FOUR)
    following = present + (1 if wanted > present else -1)
    assert step.cql == (
        f"ALTER KEYSPACE store WITH replication = {{'class': 'NetworkTopologyStrategy', 'dc1': '{following}'}}"
    )
    assert (step.safety, step.destroys) == (Safety.SLOW, "replicas:store")
    assert step.follow_up is not None
    assert ("only then plan again" in step.follow_up) == (following != wanted)
    assert ("cleanup" in step.follow_up) == (wanted < present)
    assert "repair -full store" in step.follow_up


def test_more_copies_than_a_quorum_can_reach_are_refused() -> None:
    (step,), _ = compare_replication(keyspace(network(dc1=1)), wanting(3), ring("a"))
    assert (step.safety, step.cql) == (Safety.REFUSED, "")
    assert "a quorum of 2 copies can't be reached on 1 node(s)" in step.why


def test_two_nodes_may_hold_two_of_three_copies() -> None:
    (step,), _ = compare_replication(keyspace(network(dc1=1)), wanting(3), ring("a", "a"))
    assert step.safety is Safety.SLOW


def test_another_data_centre_keeps_its_copies_and_is_told() -> None:
    two = ring("a", "a", "a", data_centres=("dc1", "dc2"))
    steps, remarks = compare_replication(keyspace(network(dc1=2, dc2=3)), wanting(3), two)
    assert [step.cql for step in steps] == [
        "ALTER KEYSPACE store WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '3', 'dc2': '3'}"
    ]
    assert remarks == ["Keyspace store has 3 copies in data centre dc2 too"]


def test_a_data_centre_that_is_gone_is_left_out_of_the_next_statement_because_cassandra_would_refuse_it() -> None:
    steps, remarks = compare_replication(keyspace(network(dc1=2, dc9=3)), wanting(3), FOUR)
    assert "dc9" not in steps[0].cql
    assert "which has no node" in remarks[0]


def test_a_data_centre_that_the_keyspace_never_had_is_filled_by_a_rebuild() -> None:
    two = ring("a", "a", "a", data_centres=("dc1", "dc2"))
    (step,), _ = compare_replication(keyspace(network(dc2=3)), wanting(3), two)
    assert "'dc1': '3', 'dc2': '3'" in step.cql
    assert step.destroys == "replicas:store"
    assert step.follow_up == "`nodetool rebuild -- dc2` on every node of dc1, before any service uses it"


def test_a_data_centre_without_nodes_is_refused() -> None:
    (step,), _ = compare_replication(keyspace(network(dc1=3)), wanting(3, "dc9"), FOUR)
    assert step.safety is Safety.REFUSED
    assert "nodes are in dc1" in step.why


def test_simple_strategy_is_left_at_once_where_each_row_stays_on_its_nodes() -> None:
    steps, _ = compare_replication(keyspace(SimpleStrategy({"replication_factor": 2})), wanting(3), FOUR)
    assert [(step.safety, step.destroys) for step in steps] == [
        (Safety.SAFE, None),
        (Safety.SLOW, "replicas:store"),
    ]
    assert "'dc1': '2'" in steps[0].cql
    assert "'dc1': '3'" in steps[1].cql


@pytest.mark.parametrize("racks", [("a", "a", "b", "b"), None])
def test_simple_strategy_is_left_with_care_and_alone_where_rows_move(racks: tuple[str, ...] | None) -> None:
    moving = ring(*racks) if racks else Ring(FOUR.hosts, None)
    (step,), _ = compare_replication(keyspace(SimpleStrategy({"replication_factor": 2})), wanting(3), moving)
    assert (step.safety, step.destroys) == (Safety.SLOW, "replicas:store")
    assert "'dc1': '2'" in step.cql
    assert "repair -full store" in (step.follow_up or "")


def test_a_strategy_of_which_nothing_is_known_is_refused() -> None:
    (step,), _ = compare_replication(keyspace(LocalStrategy({})), wanting(3), FOUR)
    assert step.safety is Safety.REFUSED


def test_writes_that_are_not_durable_are_made_so_first() -> None:
    steps, _ = compare_replication(keyspace(network(dc1=2), durable=False), wanting(3), FOUR)
    assert steps[0].cql == "ALTER KEYSPACE store WITH durable_writes = true"
    assert steps[0].safety is Safety.SAFE
    assert len(steps) == 2
