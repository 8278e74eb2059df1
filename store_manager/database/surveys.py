"""How the nodes are at the moment: who answers, what each says of itself, and whom it sees alive.

Each node that is up is asked for its own view; what the driver knows without asking is `store_manager.database.rings`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.database.heartbeats import Beat
from store_manager.database.rings import Member, Ring, read_ring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_manager.database.heartbeats import Heartbeats


ANSWER_S = 1.0
"""How long a node may take to answer before it counts as silent."""

_SELF = SimpleStatement("SELECT schema_version FROM system.local", consistency_level=ConsistencyLevel.ONE)
_OTHERS = SimpleStatement(
    "SELECT address, generation, heartbeat, load FROM system_views.gossip_info",
    consistency_level=ConsistencyLevel.ONE,
)
"""Only a user of the database with the grant to read it is answered; without one, nobody's view is known."""


class State(StrEnum):
    """What the service finds of a node: it answers, it is connected but silent, or there is no connection to it.

    Of one that the driver leaves alone, as in another data centre, it is what the others see; UNKNOWN until they tell.
    """

    UP = "UP"
    SILENT = "SILENT"
    DOWN = "DOWN"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Sight:
    """How another node sees this one; `alive` is None as long as it was not watched for long enough."""

    address: str
    alive: bool | None


@dataclass(frozen=True)
class NodeSurvey:
    """One node: `answer_s` is how long its answer took; what only itself can tell is None without one."""

    member: Member
    state: State
    answer_s: float | None
    schema_version: str | None
    load_bytes: int | None
    seen_by: tuple[Sight, ...]


@dataclass(frozen=True)
class Survey:
    """The whole cluster at one moment; `copies` says how many replicas of a row each data centre holds."""

    name: str
    copies: Mapping[str, int]
    ring: Ring
    nodes: tuple[NodeSurvey, ...]

    @property
    def schema_agreed(self) -> bool:
        """Whether all nodes that answered have the same schema."""
        return len({node.schema_version for node in self.nodes if node.schema_version}) <= 1


def survey(raw: Any, keyspace: str, heartbeats: Heartbeats) -> Survey:
    """Ask every node that is up at once, and return what they said within `ANSWER_S`."""
    ring = read_ring(raw, keyspace)
    asked = {
        str(host.address): (_Question(raw, _SELF, host), _Question(raw, _OTHERS, host))
        for host in raw.cluster.metadata.all_hosts()
        if host.is_up
    }
    told = {address: _by_node(ring, others.answer()) for address, (_, others) in asked.items()}
    sights = heartbeats.judge({address: _beats(rows) for address, rows in told.items()})
    nodes = [
        _describe(
            member,
            asked[member.address][0] if member.address in asked else None,
            told.get(member.address, {}).get(member.address),
            tuple(Sight(observer, seen[member.address]) for observer, seen in sights.items() if member.address in seen),
        )
        for member in ring.members
    ]
    return Survey(str(raw.cluster.metadata.cluster_name), _replicas_in(raw, keyspace), ring, tuple(nodes))


class _Question:
    """A query on its way to one node; remembers when the answer arrived, not when somebody looked."""

    def __init__(self, raw: Any, query: SimpleStatement, host: Any) -> None:
        self._sent_s = time.perf_counter()
        self._arrived_s: float | None = None
        self._future = raw.execute_async(query, host=host, timeout=ANSWER_S)
        self._future.add_callback(self._note_arrival)

    def _note_arrival(self, _rows: Any) -> None:
        self._arrived_s = time.perf_counter()

    def answer(self) -> list[dict[str, Any]] | None:
        """Wait for the rows; None if there is no answer in time, or it is a refusal."""
        try:
            return list(self._future.result())
        except DRIVER_ERRORS:
            return None

    @property
    def took_s(self) -> float:
        """How long the answer was under way, there and back."""
        return (self._arrived_s or time.perf_counter()) - self._sent_s


def _replicas_in(raw: Any, keyspace: str) -> dict[str, int]:
    kept = raw.cluster.metadata.keyspaces.get(keyspace)
    factors = getattr(kept.replication_strategy, "dc_replication_factors", {}) if kept else {}
    return {str(datacenter): int(copies) for datacenter, copies in factors.items()}


def _by_node(ring: Ring, rows: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    return {ring.name(str(row["address"])): row for row in rows or ()}


def _beats(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Beat]:
    return {address: Beat(row["generation"], row["heartbeat"]) for address, row in rows.items()}


def _describe(
    member: Member, question: _Question | None, told: Mapping[str, Any] | None, seen_by: tuple[Sight, ...]
) -> NodeSurvey:
    rows = question.answer() if question else None
    if not question or not rows:
        return NodeSurvey(member, State.SILENT if question else _unasked(member, seen_by), None, None, None, seen_by)
    return NodeSurvey(
        member=member,
        state=State.UP,
        answer_s=question.took_s,
        schema_version=str(rows[0]["schema_version"]),
        load_bytes=int(float(told["load"])) if told and told["load"] else None,
        seen_by=seen_by,
    )


def _unasked(member: Member, seen_by: tuple[Sight, ...]) -> State:
    if member.up is not None:
        return State.DOWN
    seen = {sight.alive for sight in seen_by}
    return State.UP if True in seen else State.DOWN if False in seen else State.UNKNOWN
