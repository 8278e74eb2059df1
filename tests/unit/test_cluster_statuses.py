"""How every node is, put together from what each of them says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from cassandra import OperationTimedOut

from store_manager.cluster import statuses

if TYPE_CHECKING:
    from store_manager.database.connections import Database

ONE, TWO, TEN = "10.0.0.1", "10.0.0.2", "10.0.0.10"
HALF = 2**63
TOKENS = {ONE: [str(-HALF)], TWO: [str(-HALF // 2)], TEN: ["0"]}


class FakeCluster:
    """Answers as three nodes do; every look lets the hearts beat that still do.

    `prefix` begins what the nodes call themselves among each other, if that is not what clients call them.
    """

    def __init__(self, prefix: str = "10.") -> None:
        self.prefix = prefix
        self.silent: set[str] = set()
        self.dead: set[str] = set()
        self.nameless: set[str] = set()
        self.schemas = dict.fromkeys(TOKENS, "s1")
        self.status = dict.fromkeys(TOKENS, "NORMAL,-1")
        self.hints: dict[str, list[tuple[str, int]]] = {}
        self.looks = 0

    @property
    def database(self) -> Database:
        hosts = [SimpleNamespace(address=address, is_up=address not in self.dead) for address in TOKENS]
        metadata = SimpleNamespace(all_hosts=lambda: hosts)
        return cast("Database", SimpleNamespace(raw=self, cluster=SimpleNamespace(metadata=metadata)))

    def execute_async(self, query: Any, *, host: Any, timeout: float) -> Any:
        assert timeout == statuses.ANSWER_S
        return SimpleNamespace(result=lambda: self._answer(query.query_string, host.address))

    def _answer(self, query: str, address: str) -> list[dict[str, Any]]:
        if address in self.silent | self.dead:
            raise OperationTimedOut
        self.looks += 1
        return {
            statuses.LOCAL: [self._row(address) | {"broadcast_address": self.inside(address)}],
            statuses.PEERS: [self._row(other) | self._peer(other) for other in TOKENS if other != address],
            statuses.GOSSIP: [self._gossip(other) for other in TOKENS],
            statuses.HINTS: [{"host_id": target, "files": files} for target, files in self.hints.get(address, [])],
            statuses.PAXOS: [{"mebibytes": 7}],
        }[query]

    def inside(self, address: str) -> str:
        return self.prefix + address.removeprefix("10.")

    def _peer(self, address: str) -> dict[str, Any]:
        native = None if address in self.nameless else address
        return {"peer": self.inside(address), "native_address": native}

    def _row(self, address: str) -> dict[str, Any]:
        return {
            "host_id": f"id of {address}",
            "data_center": "dc1",
            "rack": "rack1",
            "release_version": "4.1.10",
            "schema_version": self.schemas[address],
            "tokens": TOKENS[address],
        }

    def _gossip(self, address: str) -> dict[str, Any]:
        beat = 1 if address in self.dead else self.looks
        status, load = self.status[address], "1.5E6"
        told = {"status_with_port": status, "load": load}
        return {"address": self.inside(address), "generation": 1, "heartbeat": beat} | told


@pytest.fixture(autouse=True)
def _no_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "POLL_S", 0.0)
    monkeypatch.setattr(statuses, "HEARTBEAT_S", 0.05)


def ask(fake: FakeCluster) -> dict[str, statuses.NodeStatus]:
    return {node.address: node for node in statuses.ask(fake.database).nodes}


def test_each_node_is_described_by_itself_in_the_order_of_the_addresses() -> None:
    found = statuses.ask(FakeCluster().database)
    assert [(node.address, node.state) for node in found.nodes] == [(ONE, "UN"), (TWO, "UN"), (TEN, "UN")]
    assert [node.share for node in found.nodes] == [0.5, 0.25, 0.25]
    node = found.nodes[0]
    assert (node.tokens, node.load_bytes, node.paxos_mib, node.schema_version) == ((-HALF,), 1_500_000, 7, "s1")
    assert found.warnings == []


def test_a_node_that_is_silent_and_whose_heart_does_not_beat_is_down() -> None:
    fake = FakeCluster()
    fake.dead = {TWO}
    node = ask(fake)[TWO]
    assert (node.state, node.share) == ("DN", 0.25)
    assert (node.schema_version, node.paxos_mib) == (None, None)


def test_a_node_that_is_silent_to_us_and_alive_to_others_is_up() -> None:
    fake = FakeCluster()
    fake.silent = {TWO}
    assert ask(fake)[TWO].state == "UN"


def test_hints_are_counted_for_the_node_that_they_wait_for() -> None:
    fake = FakeCluster()
    fake.hints = {ONE: [(f"id of {TEN}", 2)], TWO: [(f"id of {TEN}", 1)]}
    assert {address: node.hints_for_it for address, node in ask(fake).items()} == {ONE: 0, TWO: 0, TEN: 3}


def test_what_is_not_as_it_should_be_is_said_in_sentences() -> None:
    fake = FakeCluster()
    fake.dead, fake.schemas[TEN], fake.hints = {TWO}, "s2", {ONE: [(f"id of {TWO}", 2)]}
    assert statuses.ask(fake.database).warnings == [
        f"Node {TWO} is DN, not UN",
        "The nodes have 2 versions of the schema",
        f"2 file(s) of hints wait for node {TWO}",
    ]


def test_a_node_with_an_address_for_clients_and_another_for_nodes_is_one_node() -> None:
    found = statuses.ask(FakeCluster("192.").database)
    assert [(node.address, node.state) for node in found.nodes] == [(ONE, "UN"), (TWO, "UN"), (TEN, "UN")]
    assert [node.share for node in found.nodes] == [0.5, 0.25, 0.25]
    assert [node.load_bytes for node in found.nodes] == [1_500_000] * 3
    assert found.warnings == []


def test_the_hearts_of_nodes_with_two_addresses_are_told_apart() -> None:
    fake = FakeCluster("192.")
    fake.silent, fake.dead = {TEN}, {TWO}
    assert {address: node.state for address, node in ask(fake).items()} == {ONE: "UN", TWO: "DN", TEN: "UN"}


def test_a_node_that_has_not_told_its_address_for_clients_is_named_by_the_other() -> None:
    fake = FakeCluster("192.")
    fake.dead, fake.nameless = {TWO}, {TWO}
    assert ask(fake)["192.0.0.2"].state == "DN"
