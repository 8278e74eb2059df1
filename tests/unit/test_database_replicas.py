"""What is known of a row's copies: how many can be reached, and whether that is enough."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import ConsistencyLevel

from store_manager.database.health import Part
from store_manager.database.levels import copies_needed, find_gaps, may_miss
from store_manager.database.policies import SILENT_AFTER, Suspects
from store_manager.database.replicas import Replicas, Shortage

ONE, QUORUM, ALL = ConsistencyLevel.LOCAL_ONE, ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.ALL
SERIAL = ConsistencyLevel.LOCAL_SERIAL


class Node:
    """Stands for a host of the driver."""

    def __init__(self, datacenter: str = "dc1") -> None:
        self.datacenter = datacenter
        self.is_up: bool | None = True


class Ring:
    """Stands for the driver's metadata: each node has one token, and a row is on its node and those that follow."""

    def __init__(self, nodes: int, factor: int) -> None:
        self.nodes = [Node() for _ in range(nodes)]
        self.factor = factor
        strategy = SimpleNamespace(dc_replication_factors={"dc1": factor})
        self.keyspaces = {"ks": SimpleNamespace(replication_strategy=strategy)}
        self.token_map = SimpleNamespace(ring=range(nodes), get_replicas=self.get_replicas)

    def all_hosts(self) -> list[Node]:
        return [*self.nodes, Node("dc2")]

    def get_replicas(self, _keyspace: str, key: Any) -> list[Node]:
        copies = min(self.factor, len(self.nodes))
        return [self.nodes[(int(key) + step) % len(self.nodes)] for step in range(copies)]

    def replicas(self, *suspects: Node) -> Replicas:
        suspected = Suspects()
        for node in suspects:
            suspected.add(node)
            for _ in range(SILENT_AFTER):
                suspected.unanswered(node)
        return Replicas(self, "dc1", suspected)


@pytest.mark.parametrize(
    ("level", "factor", "needed"),
    [(ONE, 3, 1), (QUORUM, 1, 1), (QUORUM, 2, 2), (QUORUM, 3, 2), (SERIAL, 3, 2), (QUORUM, 5, 3), (ALL, 3, 3)],
)
def test_a_level_needs_so_many_copies(level: int, factor: int, needed: int) -> None:
    assert copies_needed(level, factor) == needed


@pytest.mark.parametrize(
    ("read", "factor", "misses"),
    [(ONE, 1, False), (ONE, 2, False), (ONE, 3, True), (QUORUM, 3, False), (ALL, 3, False)],
)
def test_a_read_may_miss_a_write_only_if_no_copy_need_be_in_both(read: int, factor: int, *, misses: bool) -> None:
    assert may_miss(read, QUORUM, factor) is misses


@pytest.mark.parametrize(
    ("read", "write", "factor", "lost"),
    [
        ("LOCAL_QUORUM", "LOCAL_QUORUM", 3, []),
        ("ONE", "ALL", 3, []),
        ("ALL", "LOCAL_QUORUM", 2, []),
        ("ONE", "ONE", 1, []),
        ("ONE", "LOCAL_QUORUM", 3, ["(LOCAL_QUORUM) take 1 and 2 of 3 copies"]),
        ("LOCAL_QUORUM", "ONE", 2, ["(ONE) takes 1 of 2 copies, fewer than a quorum (2)"]),
        ("LOCAL_ONE", "TWO", 5, ["(TWO) take 1 and 2 of 5 copies", "(TWO) takes 2 of 5 copies"]),
    ],
)
def test_levels_at_which_the_store_may_lose_something_are_named(
    read: str, write: str, factor: int, lost: list[str]
) -> None:
    gaps = find_gaps(read, write, factor)
    assert len(gaps) == len(lost)
    assert all(words in gap for words, gap in zip(lost, gaps, strict=True))


def test_nothing_is_missing_while_a_quorum_can_be_reached() -> None:
    ring = Ring(3, 3)
    assert ring.replicas().find_shortage("ks", b"1", QUORUM) is None
    ring.nodes[0].is_up = False
    assert ring.replicas().find_shortage("ks", b"1", QUORUM) is None


def test_nodes_that_are_down_or_silent_are_missing_and_nodes_elsewhere_do_not_help() -> None:
    ring = Ring(3, 3)
    ring.nodes[0].is_up = False
    replicas = ring.replicas(ring.nodes[1])
    for key in (b"1", None):
        assert replicas.find_shortage("ks", key, QUORUM) == Shortage(required=2, alive=1)
        assert replicas.find_shortage("ks", key, ONE) is None


def test_a_node_of_which_nothing_is_known_is_not_missing() -> None:
    ring = Ring(3, 3)
    ring.nodes[0].is_up = ring.nodes[1].is_up = None
    assert ring.replicas().find_shortage("ks", b"1", QUORUM) is None


def test_with_more_nodes_than_copies_only_the_rows_of_the_nodes_that_are_away_are_missing() -> None:
    ring = Ring(4, 1)
    ring.nodes[2].is_up = False
    replicas = ring.replicas()
    assert [replicas.find_shortage("ks", key, ONE) for key in (b"0", b"1", b"2", b"3")] == [
        None,
        None,
        Shortage(required=1, alive=0),
        None,
    ]
    assert replicas.find_shortage("ks", None, ONE) is None, "whichever row is meant, it may be there"


def test_copies_that_can_not_exist_are_missing_once_a_node_is_away() -> None:
    ring = Ring(2, 3)
    ring.nodes[0].is_up = False
    assert ring.replicas().find_shortage("ks", b"1", QUORUM) == Shortage(required=2, alive=1)


def test_of_a_keyspace_that_is_not_known_nothing_is_missing() -> None:
    ring = Ring(3, 3)
    ring.nodes[0].is_up = ring.nodes[1].is_up = False
    assert ring.replicas().find_shortage(None, b"1", QUORUM) is None
    assert ring.replicas().count_ranges("other", QUORUM) == (0, 0)


@pytest.mark.parametrize(
    ("nodes", "factor", "away", "reading", "writing"),
    [
        (3, 3, 1, Part.ALL, Part.ALL),
        (3, 3, 2, Part.ALL, Part.NONE),
        (3, 3, 3, Part.NONE, Part.NONE),
        (2, 2, 1, Part.ALL, Part.NONE),
        (3, 2, 1, Part.ALL, Part.SOME),
        (3, 1, 1, Part.SOME, Part.SOME),
        (1, 1, 0, Part.ALL, Part.ALL),
    ],
)
def test_what_can_be_read_and_written_follows_from_the_copies_of_each_range(
    nodes: int, factor: int, away: int, reading: Part, writing: Part
) -> None:
    ring = Ring(nodes, factor)
    for node in ring.nodes[:away]:
        node.is_up = False
    assert Part.of(*ring.replicas().count_ranges("ks", ONE)) is reading
    assert Part.of(*ring.replicas().count_ranges("ks", QUORUM)) is writing
