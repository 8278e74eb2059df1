"""What is made of the nodes' answers about themselves and about each other."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cassandra import OperationTimedOut, Unauthorized

from store_manager.database.heartbeats import Heartbeats
from store_manager.database.surveys import NodeSurvey, State, Survey, survey


@dataclass
class FakeNode:
    """Stands for a node of the driver and for what it answers."""

    address: str
    is_up: bool | None = True
    silent: bool = False
    schema_version: str = "v1"
    granted: bool = True
    heartbeat: int = 100
    datacenter: str = "dc1"
    rack: str = "rack1"
    release_version: str = "4.1.10"

    @property
    def broadcast_address(self) -> str:
        return f"internal-{self.address}"


class FakeRaw:
    """Stands for the driver's session."""

    def __init__(self, *nodes: FakeNode) -> None:
        self._nodes = nodes
        strategy = SimpleNamespace(dc_replication_factors={"dc1": 3})
        metadata = SimpleNamespace(
            all_hosts=lambda: list(nodes),
            token_map=None,
            cluster_name="test",
            keyspaces={"store": SimpleNamespace(replication_strategy=strategy)},
        )
        self.cluster = SimpleNamespace(metadata=metadata)

    def execute_async(self, query: Any, host: FakeNode, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(add_callback=lambda _: None, result=lambda: self._answer(query.query_string, host))

    def _answer(self, text: str, host: FakeNode) -> list[dict[str, Any]]:
        if host.silent:
            raise OperationTimedOut
        if "system.local" in text:
            return [{"schema_version": host.schema_version}]
        if not host.granted:
            raise Unauthorized("no SELECT on system_views")
        return [
            {"address": node.broadcast_address, "generation": 1, "heartbeat": node.heartbeat, "load": "2048.0"}
            for node in self._nodes
        ]


def look(*nodes: FakeNode) -> Survey:
    return survey(FakeRaw(*nodes), "store", Heartbeats())


def node_of(found: Survey, address: str) -> NodeSurvey:
    [node] = [node for node in found.nodes if node.member.address == address]
    return node


def sights_of(found: Survey, address: str) -> dict[str, bool | None]:
    return {sight.address: sight.alive for sight in node_of(found, address).seen_by}


def test_a_node_answers_or_is_silent_or_has_no_connection() -> None:
    found = look(FakeNode("a"), FakeNode("b", silent=True), FakeNode("c", is_up=False))

    assert [node.state for node in found.nodes] == [State.UP, State.SILENT, State.DOWN]
    assert [node.answer_s is None for node in found.nodes] == [False, True, True]
    assert [node.schema_version for node in found.nodes] == ["v1", None, None]
    assert (found.name, found.copies) == ("test", {"dc1": 3})


def test_each_node_is_seen_by_those_that_answer_under_the_address_that_the_service_uses() -> None:
    found = look(FakeNode("a"), FakeNode("b"), FakeNode("c", silent=True))

    assert sights_of(found, "a") == {"b": True}
    assert sights_of(found, "c") == {"a": None, "b": None}
    assert node_of(found, "a").load_bytes == 2048


def test_a_user_who_may_not_read_the_nodes_views_still_learns_who_answers() -> None:
    found = look(FakeNode("a", granted=False), FakeNode("b", granted=False))

    assert [node.state for node in found.nodes] == [State.UP, State.UP]
    assert (sights_of(found, "a"), node_of(found, "a").load_bytes) == ({}, None)


def test_nodes_with_different_schemas_do_not_agree_and_silent_ones_do_not_count() -> None:
    assert look(FakeNode("a"), FakeNode("b", silent=True)).schema_agreed
    assert not look(FakeNode("a"), FakeNode("b", schema_version="v2")).schema_agreed


def test_with_every_node_away_the_survey_still_tells_who_they_are() -> None:
    found = look(FakeNode("a", is_up=False), FakeNode("b", is_up=False))

    assert [(node.member.address, node.state) for node in found.nodes] == [("a", State.DOWN), ("b", State.DOWN)]


def test_a_node_of_a_data_centre_that_the_driver_leaves_alone_is_as_the_others_see_it() -> None:
    now = 0.0
    heartbeats = Heartbeats(clock=lambda: now)
    near, far = FakeNode("a"), FakeNode("z", is_up=None, datacenter="dc2")

    def state_of_far() -> State:
        return node_of(survey(FakeRaw(near, far), "store", heartbeats), "z").state

    assert state_of_far() is State.UNKNOWN
    far.heartbeat += 1
    assert state_of_far() is State.UP
    now += 6.0
    assert state_of_far() is State.DOWN


def test_without_anybody_who_tells_a_node_that_the_driver_leaves_alone_is_not_called_away() -> None:
    found = look(FakeNode("a", granted=False), FakeNode("z", is_up=None, datacenter="dc2"))

    assert node_of(found, "z").state is State.UNKNOWN
    assert node_of(found, "z").member.up is None
