"""What is made of the nodes' answers about their clocks and their schema."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cassandra import OperationTimedOut

from store_manager.database.health import Health, NodeHealth, ask_nodes

if TYPE_CHECKING:
    import pytest

NOW_S = 1_800_000_000.0
TIMEOUT_S = 1.5


@dataclass
class FakeNode:
    """Stands for a node: its clock is `skew_s` ahead of ours, and its answer takes `round_trip_s`."""

    address: str
    skew_s: float = 0.0
    schema_version: str = "v1"
    is_up: bool = True
    silent: bool = False
    datacenter: str = "dc1"
    asked: int = 0


@dataclass
class FakeRaw:
    """Stands for the driver's session; a round trip takes two tenths of a second of the fake clock."""

    nodes: list[FakeNode]
    now_s: list[float] = field(default_factory=lambda: [NOW_S])

    @property
    def cluster(self) -> Any:
        return SimpleNamespace(metadata=SimpleNamespace(all_hosts=lambda: self.nodes))

    def execute_async(self, _query: Any, host: FakeNode, timeout: float) -> Any:
        assert timeout == TIMEOUT_S
        host.asked += 1
        return SimpleNamespace(add_callback=lambda arrived: self._arrive(arrived, host), result=lambda: self._say(host))

    def _arrive(self, arrived: Any, host: FakeNode) -> None:
        host.skew_s += self.now_s[0] + 0.1  # its clock is read halfway
        self.now_s[0] += 0.2
        arrived([])

    def _say(self, host: FakeNode) -> Any:
        if host.silent:
            raise OperationTimedOut
        row = {"clock_ms": host.skew_s * 1000, "schema_version": host.schema_version}
        return SimpleNamespace(one=lambda: row)


def ask(*nodes: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Health:
    raw = FakeRaw(list(nodes))
    monkeypatch.setattr(time, "time", lambda: raw.now_s[0])
    return ask_nodes(raw, "dc1", TIMEOUT_S)


def test_the_round_trip_does_not_count_as_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(FakeNode("127.0.0.1"), FakeNode("127.0.0.2", skew_s=-2.0), monkeypatch=monkeypatch)
    assert [round(node.clock_skew_s or 0, 3) for node in found.nodes] == [0.0, -2.0]
    [warning] = found.warnings
    assert "127.0.0.2" in warning
    assert "-2.0 s" in warning


def test_only_the_data_centre_that_is_used_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = FakeNode("127.0.0.2", datacenter="dc2")
    found = ask(FakeNode("127.0.0.1"), elsewhere, monkeypatch=monkeypatch)
    assert [node.address for node in found.nodes] == ["127.0.0.1"]
    assert elsewhere.asked == 0


def test_half_a_second_of_skew_is_tolerated() -> None:
    def node(skew_s: float) -> Health:
        return Health((NodeHealth("127.0.0.1", "dc1", up=True, clock_skew_s=skew_s, schema_version="v1"),))

    assert node(0.5).warnings == []
    assert len(node(0.501).warnings) == len(node(-0.501).warnings) == 1


def test_nodes_that_disagree_on_the_schema_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(FakeNode("127.0.0.1"), FakeNode("127.0.0.2", schema_version="v2"), monkeypatch=monkeypatch)
    assert not found.schema_agreed
    assert "schema" in found.warnings[0]


def test_a_node_that_is_down_is_not_asked_and_a_silent_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    down, silent = FakeNode("127.0.0.2", is_up=False), FakeNode("127.0.0.3", silent=True)
    found = ask(FakeNode("127.0.0.1"), down, silent, monkeypatch=monkeypatch)
    assert down.asked == 0
    assert [node.up for node in found.nodes] == [True, False, True]
    assert [node.clock_skew_s for node in found.nodes[1:]] == [None, None]
    assert [warning.split()[1] for warning in found.warnings] == ["127.0.0.2", "127.0.0.3"]
    assert found.schema_agreed
