"""How a suspected node is asked until it answers, isolated from any server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable

from store_manager.database.policies import SILENT_AFTER, Suspects
from store_manager.database.probes import Prober

TIMEOUT_S = 1.0


class FakeRaw:
    """Stands for the driver's session: its probes and its scheduled calls wait until a test lets them go on."""

    def __init__(self) -> None:
        self.probes: list[SimpleNamespace] = []
        self.scheduled: list[Any] = []
        self.refusal: Exception | None = None
        self.cluster = SimpleNamespace(scheduler=SimpleNamespace(schedule=self._schedule))

    def submit(self, call: Any, *args: Any) -> None:
        call(*args)

    def _schedule(self, _delay_s: float, call: Any, *args: Any) -> None:
        self.scheduled.append((call, args))

    def go_on(self) -> None:
        call, args = self.scheduled.pop(0)
        call(*args)

    def execute_async(self, _query: Any, host: Any, timeout: float) -> Any:
        if self.refusal is not None:
            raise self.refusal
        probe = SimpleNamespace(host=host, timeout=timeout)
        probe.add_callbacks = lambda answered, failed: vars(probe).update(answered=answered, failed=failed)
        self.probes.append(probe)
        return probe


@pytest.fixture
def raw() -> FakeRaw:
    return FakeRaw()


@pytest.fixture
def suspects() -> Suspects:
    return Suspects()


@pytest.fixture
def prober(raw: FakeRaw, suspects: Suspects) -> Prober:
    return Prober(raw, suspects, TIMEOUT_S)


class Node:
    """Stands for a host of the driver."""

    is_up: bool | None = True


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_suspect_is_asked_alone_and_only_once_at_a_time(prober: Prober, raw: FakeRaw, node: Node) -> None:
    prober.suspect(node)
    prober.suspect(node)
    assert [(probe.host, probe.timeout) for probe in raw.probes] == [(node, TIMEOUT_S)]


def test_a_frozen_node_stays_suspected_for_as_long_as_it_does_not_answer(
    prober: Prober, raw: FakeRaw, suspects: Suspects, node: Node
) -> None:
    prober.suspect(node)
    assert not suspects.is_silent(node), "it may have been slow only once"
    for number in range(60):
        raw.probes[number].failed(OperationTimedOut())
        assert node in suspects
        assert suspects.is_silent(node) == (number + 1 >= SILENT_AFTER)
        raw.go_on()
    raw.probes[-1].answered([])
    assert not suspects.is_silent(node)
    assert raw.scheduled == []


def test_a_node_that_answers_can_be_suspected_anew(
    prober: Prober, raw: FakeRaw, suspects: Suspects, node: Node
) -> None:
    prober.suspect(node)
    raw.probes[0].answered([])
    assert node in suspects, "for a moment more"
    prober.suspect(node)
    assert len(raw.probes) == 2


def test_a_node_that_the_driver_holds_for_down_is_no_suspect_and_is_asked_no_more(
    prober: Prober, raw: FakeRaw, suspects: Suspects, node: Node
) -> None:
    prober.suspect(node)
    node.is_up = False
    raw.probes[0].failed(NoHostAvailable("down", {}))
    assert node not in suspects
    assert raw.scheduled == []


def test_a_probe_that_can_not_be_sent_is_tried_again(
    prober: Prober, raw: FakeRaw, suspects: Suspects, node: Node
) -> None:
    raw.refusal = NoHostAvailable("no connection", {})
    prober.suspect(node)
    assert node in suspects
    raw.refusal = None
    raw.go_on()
    assert len(raw.probes) == 1
