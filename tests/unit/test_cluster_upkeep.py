"""Repair and the replication of Cassandra's own keyspaces: what is done in which order, and what is refused."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from click.testing import CliRunner

from store_manager.cli import main
from store_manager.cluster import management, repairs, replication
from store_manager.cluster.faults import ManagementError, UpkeepFailed
from store_manager.cluster.management import Endpoint, Event, Step
from store_manager.cluster.statuses import ClusterStatus, NodeStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.cluster.management import Management
    from store_manager.database.connections import Database

ONE, TWO = "10.0.0.1", "10.0.0.2"
KEYSPACES = ("store", "system_auth")


def node(address: str, state: str = "UN") -> NodeStatus:
    return NodeStatus(
        address=address,
        host_id=f"id of {address}",
        state=state,
        datacenter="dc1",
        rack="rack1",
        version="4.1.10",
        schema_version="s1",
        tokens=(0,),
        share=0.5,
        load_bytes=0,
        hints_for_it=0,
        paxos_mib=0,
    )


class FakeManagement:
    """A node's management that repairs in two steps, or refuses."""

    def __init__(self, address: str, repaired: list[tuple[str, str]], *, refuses: str = "") -> None:
        self.host_id, self._address = f"id of {address}", address
        self._repaired, self._refuses = repaired, refuses

    def repair(self, keyspace: str, options: dict[str, str]) -> Iterator[Step]:
        assert options == repairs.FULL
        if keyspace == self._refuses:
            raise ManagementError(f"The repair of {keyspace} failed on {self._address}")
        yield Step("repair:1", Event.PROGRESS, 1, 2, "")
        yield Step("repair:1", Event.COMPLETE, 2, 2, "")
        self._repaired.append((self._address, keyspace))


def pairs(*managed: FakeManagement, states: str = "UN UN") -> list[tuple[NodeStatus, Management]]:
    nodes = [node(address, state) for address, state in zip((ONE, TWO), states.split(), strict=True)]
    return repairs.pair(ClusterStatus(tuple(nodes)), cast("tuple[Management, ...]", managed))


def test_every_node_repairs_every_keyspace_one_after_the_other() -> None:
    repaired: list[tuple[str, str]] = []
    nodes = pairs(FakeManagement(TWO, repaired), FakeManagement(ONE, repaired))
    steps = list(repairs.repair(nodes, KEYSPACES, repairs.FULL))
    assert repaired == [(address, keyspace) for address in (ONE, TWO) for keyspace in KEYSPACES]
    reached = [step.reached for step in steps]
    assert reached == sorted(reached)
    assert (reached[0], reached[-1]) == (0.0, 1.0)
    assert 0.125 in reached, "half of the first of four"


def test_a_repair_that_fails_ends_the_run_and_says_where() -> None:
    repaired: list[tuple[str, str]] = []
    nodes = pairs(FakeManagement(ONE, repaired, refuses="system_auth"), FakeManagement(TWO, repaired))
    with pytest.raises(UpkeepFailed, match=rf"The repair of system_auth failed on {ONE}; .* run it again"):
        list(repairs.repair(nodes, KEYSPACES, repairs.FULL))
    assert repaired == [(ONE, "store")]


def test_no_repair_begins_while_a_node_is_away() -> None:
    with pytest.raises(UpkeepFailed, match=f"and {TWO} is not"):
        pairs(FakeManagement(ONE, []), FakeManagement(TWO, []), states="UN DN")


def test_no_repair_begins_that_would_leave_a_node_out() -> None:
    with pytest.raises(UpkeepFailed, match=f"CASSANDRA_JMX_HOSTS leaves out {TWO}"):
        pairs(FakeManagement(ONE, []))


def test_an_installation_without_jpype_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jpype", None)
    with (
        pytest.raises(ManagementError, match=r"^This needs .* which the service's image leaves out: run it from"),
        management.connect([Endpoint(ONE)]),
    ):
        pass


@pytest.mark.parametrize(("text", "endpoint"), [("node", Endpoint("node", 7199)), ("node:1", Endpoint("node", 1))])
def test_an_endpoint_has_the_usual_port_unless_one_is_named(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


NETWORK = "org.apache.cassandra.locator.NetworkTopologyStrategy"
SIMPLE = "org.apache.cassandra.locator.SimpleStrategy"


def database_with(**keyspaces: dict[str, str]) -> Database:
    rows = [{"keyspace_name": name, "replication": replication} for name, replication in keyspaces.items()]
    return cast("Database", SimpleNamespace(raw=SimpleNamespace(execute=lambda _: rows)))


def test_the_systems_keyspaces_follow_the_stores() -> None:
    database = database_with(
        store={"class": NETWORK, "dc1": "3"},
        system_auth={"class": SIMPLE, "replication_factor": "1"},
        system_traces={"class": NETWORK, "dc1": "3"},
        system={"class": "org.apache.cassandra.locator.LocalStrategy"},
    )
    [change] = replication.plan(database, "store")
    assert change.cql == f"ALTER KEYSPACE system_auth WITH replication = {{'class': '{NETWORK}', 'dc1': '3'}}"
    assert change.why == ("it has class SimpleStrategy, factor 1, store has class NetworkTopologyStrategy, dc1 3")


def test_without_the_stores_keyspace_there_is_nothing_to_follow() -> None:
    with pytest.raises(UpkeepFailed, match="There is no keyspace store to follow"):
        replication.plan(database_with(system_auth={"class": SIMPLE, "replication_factor": "1"}), "store")


SYSTEM = {"system_auth": {"class": SIMPLE, "replication_factor": "1"}, "system_traces": {"class": NETWORK, "dc1": "3"}}
FOLLOW = "Other replication than that of store_manager: system_auth; run `store-manager cluster replicate-system`"


@pytest.mark.parametrize(
    ("nodes", "keyspaces", "warnings"),
    [
        (2, SYSTEM | {"store_manager": {"class": NETWORK, "dc1": "3"}}, [FOLLOW]),
        (2, {"store_manager": SYSTEM["system_auth"], "system_auth": SYSTEM["system_auth"]}, []),
        (1, SYSTEM | {"store_manager": {"class": NETWORK, "dc1": "1"}}, []),
        (2, SYSTEM, []),
    ],
    ids=["one copy", "as the store", "a single node", "no store yet"],
)
def test_the_status_warns_of_system_keyspaces_that_do_not_follow_the_stores(
    monkeypatch: pytest.MonkeyPatch, nodes: int, keyspaces: dict[str, dict[str, str]], warnings: list[str]
) -> None:
    database = database_with(**keyspaces)
    monkeypatch.setattr(database, "close", lambda: None, raising=False)
    found = ClusterStatus(tuple(node(address) for address in (ONE, TWO)[:nodes]))
    monkeypatch.setattr("store_manager.database.connections.connect", lambda _: database)
    monkeypatch.setattr("store_manager.cluster.statuses.ask", lambda _: found)
    told = CliRunner().invoke(main, ["cluster", "status", "--json"], env={"CASSANDRA_KEYSPACE": "store_manager"})
    assert json.loads(told.stdout)["warnings"] == warnings


@pytest.mark.parametrize("began", ["yesterday", "2999-01-01T00:00:00Z"])
def test_a_repair_can_only_be_noted_of_a_moment_that_has_been(began: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: Any = lambda *_: pytest.fail("it was connected")  # noqa: E731
    monkeypatch.setattr("store_manager.database.connections.connect", connected)
    result = CliRunner().invoke(main, ["cluster", "note-repair", "--began", began])
    assert result.exit_code == 2


NOBODY = """
from store_manager.cluster import management
from store_manager.cluster.faults import ManagementError
try:
    with management.connect([management.Endpoint("127.0.0.1", {port})]):
        pass
except ManagementError as error:
    print(error.message)
"""


def test_a_management_interface_that_does_not_answer_is_told_with_where_it_was_sought() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # In a process of its own: a Java runtime stays where it was started.
    told = subprocess.run([sys.executable, "-c", NOBODY.format(port=port)], capture_output=True, text=True, check=True)
    assert told.stdout == f"No management interface (JMX) answers at 127.0.0.1:{port}: see CASSANDRA_JMX_HOSTS\n"
