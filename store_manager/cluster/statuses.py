"""How every node of any cluster is, asked by CQL only: the nodes' own tables and virtual tables, each node for itself.

Nothing here needs more than a connection, so it works wherever the service does. A node may have one address for
clients and another for the other nodes, so it is known by its id, and shown by the address for clients.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel, Unauthorized
from cassandra.query import SimpleStatement

from store_manager.cluster.faults import StatusRefused
from store_manager.database.failures import DRIVER_ERRORS
from store_manager.rings import letter_of, shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from store_manager.database.connections import Database

ANSWER_S = 3.0
"""How long a node may take to answer."""

HEARTBEAT_S = 2.5
"""How long a heartbeat may stand still before a node that does not answer counts as down: gossip beats every second."""

POLL_S = 0.5

LOCAL = (
    "SELECT host_id, broadcast_address, data_center, rack, release_version, schema_version, tokens FROM system.local"
)
PEERS = (
    "SELECT peer, native_address, host_id, data_center, rack, release_version, schema_version, tokens "
    "FROM system.peers_v2"
)
GOSSIP = "SELECT address, generation, heartbeat, status_with_port, load FROM system_views.gossip_info"
HINTS = "SELECT host_id, files FROM system_views.pending_hints"
PAXOS = "SELECT mebibytes FROM system_views.disk_usage WHERE keyspace_name = 'system' AND table_name = 'paxos'"
ASKED = (LOCAL, PEERS, GOSSIP, HINTS, PAXOS)


@dataclass(frozen=True)
class NodeStatus:
    """How one node is.

    `state` is in nodetool's letters: U or D, then N, J, L or M. `share` is its part of the ring, between 0 and 1;
    `load_bytes` are its data on disk; `hints_for_it` are the files of hints that other nodes hold for it; `paxos_mib`
    is how large the state of its conditional writes is. What a node that does not answer has to say itself is None.
    `address` is the one for clients; the one for nodes, if nobody knows another.
    """

    address: str
    host_id: str
    state: str
    datacenter: str
    rack: str
    version: str | None
    schema_version: str | None
    tokens: tuple[int, ...] = field(repr=False)
    share: float
    load_bytes: int | None
    hints_for_it: int
    paxos_mib: int | None


@dataclass(frozen=True)
class ClusterStatus:
    """How the cluster is: its nodes, and sentences about what is not as it should be."""

    nodes: tuple[NodeStatus, ...]

    @property
    def warnings(self) -> list[str]:
        """Sentences for people."""
        found = [f"Node {node.address} is {node.state}, not UN" for node in self.nodes if node.state != "UN"]
        versions = {node.schema_version for node in self.nodes if node.schema_version}
        if len(versions) > 1:
            found.append(f"The nodes have {len(versions)} versions of the schema")
        found += [
            f"{node.hints_for_it} file(s) of hints wait for node {node.address}"
            for node in self.nodes
            if node.hints_for_it
        ]
        return found


def ask(database: Database) -> ClusterStatus:
    """Return how every node is: of those that can be asked as they say themselves, of the others as gossip says."""
    first = _ask_all(database)
    answers = first
    known = {address for answer in first.values() for address in answer.beats}
    end = time.monotonic() + HEARTBEAT_S
    alive = {answer.internode_address for answer in first.values()}
    while known - alive and time.monotonic() < end:
        time.sleep(POLL_S)
        answers = _ask_all(database)
        alive |= _beating(first, answers)
    return ClusterStatus(tuple(_judge(answers, alive)))


@dataclass(frozen=True)
class _Answer:
    """What one node says; `address` is where the driver reaches it, `gossip` is by the addresses for nodes."""

    address: str
    local: Mapping[str, Any]
    peers: tuple[Mapping[str, Any], ...]
    gossip: Mapping[str, Mapping[str, Any]]
    hints: Mapping[str, int]
    paxos_mib: int | None

    @property
    def internode_address(self) -> str:
        return str(self.local["broadcast_address"])

    @property
    def beats(self) -> dict[str, tuple[int, int]]:
        return {address: (row["generation"], row["heartbeat"]) for address, row in self.gossip.items()}


def _ask_all(database: Database) -> dict[str, _Answer]:
    """Ask every node that the driver may use, all at once; return what those said that answered, by host id."""
    up = [host for host in database.cluster.metadata.all_hosts() if host.is_up]
    asked = {str(host.address): [_send(database, query, host) for query in ASKED] for host in up}
    answers = {}
    for address, futures in asked.items():
        try:
            results = [tuple(future.result()) for future in futures]
        except Unauthorized as error:
            raise StatusRefused(
                "CASSANDRA_USERNAME may not read how the nodes are: GRANT SELECT ON KEYSPACE system_views to that user"
            ) from error
        except DRIVER_ERRORS:
            continue
        answer = _read(address, *results)
        answers[str(answer.local["host_id"])] = answer
    return answers


def _send(database: Database, query: str, host: Any) -> Any:
    statement = SimpleStatement(query, consistency_level=ConsistencyLevel.ONE)
    return database.raw.execute_async(statement, host=host, timeout=ANSWER_S)


def _read(
    address: str,
    local: Iterable[Any],
    peers: Iterable[Any],
    gossip: Iterable[Any],
    hints: Iterable[Any],
    paxos: Iterable[Any],
) -> _Answer:
    return _Answer(
        address=address,
        local=next(iter(local)),
        peers=tuple(peers),
        gossip={str(row["address"]): row for row in gossip},
        hints={str(row["host_id"]): row["files"] for row in hints},
        paxos_mib=next((row["mebibytes"] for row in paxos), None),
    )


def _beating(before: Mapping[str, _Answer], now: Mapping[str, _Answer]) -> set[str]:
    """Return the addresses, those for nodes, of those whose heartbeat somebody has seen move."""
    return {
        address
        for observer, answer in now.items()
        for address, beat in answer.beats.items()
        if observer in before and before[observer].beats.get(address, beat) < beat
    }


def _judge(answers: Mapping[str, _Answer], alive: set[str]) -> list[NodeStatus]:
    """Put together what the nodes say of themselves, of each other, and by gossip."""
    members = _find_members(answers)
    gossip = {address: row for answer in answers.values() for address, row in answer.gossip.items()}
    owned = shares({host_id: _tokens(member.row) for host_id, member in members.items()})
    waiting = Counter[str]()
    for answer in answers.values():
        waiting.update(answer.hints)
    found = []
    for host_id, member in sorted(members.items(), key=lambda pair: _order(pair[1].address)):
        row, own, told = member.row, answers.get(host_id), gossip.get(member.internode_address, {})
        up = member.internode_address in alive
        found.append(
            NodeStatus(
                address=member.address,
                host_id=host_id,
                state=("U" if up else "D") + letter_of(told.get("status_with_port") or ""),
                datacenter=row["data_center"],
                rack=row["rack"],
                version=row["release_version"],
                schema_version=str(own.local["schema_version"]) if own else None,
                tokens=_tokens(row),
                share=owned[host_id],
                load_bytes=_bytes(told.get("load")),
                hints_for_it=waiting[host_id],
                paxos_mib=own.paxos_mib if own else None,
            )
        )
    return found


@dataclass(frozen=True)
class _Member:
    """A node of the ring: its two addresses, and the row that describes it, its own if it answered."""

    address: str
    internode_address: str
    row: Mapping[str, Any]


def _find_members(answers: Mapping[str, _Answer]) -> dict[str, _Member]:
    """Return every node of the ring by its host id."""
    rows = [row for answer in answers.values() for row in answer.peers if row["host_id"]]
    members = {
        str(row["host_id"]): _Member(str(row["native_address"] or row["peer"]), str(row["peer"]), row) for row in rows
    }
    return members | {
        host_id: _Member(answer.address, answer.internode_address, answer.local) for host_id, answer in answers.items()
    }


def _tokens(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(sorted(map(int, row["tokens"] or ())))


def _bytes(load: str | None) -> int | None:
    return int(float(load)) if load and re.fullmatch(r"[\d.]+(E\d+)?", load) else None


def _order(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)
