"""What the nodes say of themselves: who is up, whose clock is right, whether all have the same schema."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from store_manager.database.failures import DRIVER_ERRORS

ANSWER_S = 1.0
"""How long a node may take to answer before it counts as silent."""

MAX_CLOCK_SKEW_S = 0.5
"""Beyond this, plain writes may be ordered wrongly: the last write wins by its writer's clock."""


@dataclass(frozen=True)
class NodeHealth:
    """One node: `clock_skew_s` is its clock minus this service's, None if it did not answer."""

    address: str
    datacenter: str
    up: bool
    clock_skew_s: float | None
    schema_version: str | None


@dataclass(frozen=True)
class Health:
    """The state of all nodes of the data centre that is used."""

    nodes: tuple[NodeHealth, ...]

    @property
    def schema_agreed(self) -> bool:
        """Whether all nodes that answered have the same schema."""
        return len({node.schema_version for node in self.nodes if node.schema_version}) <= 1

    @property
    def warnings(self) -> list[str]:
        """Sentences for people about what is wrong."""
        found = [f"Node {node.address} does not answer" for node in self.nodes if node.clock_skew_s is None]
        found += [
            f"The clock of node {node.address} is {node.clock_skew_s:+.1f} s off this service's: run NTP on both"
            for node in self.nodes
            if node.clock_skew_s is not None and abs(node.clock_skew_s) > MAX_CLOCK_SKEW_S
        ]
        return found if self.schema_agreed else [*found, "The nodes do not agree on the schema"]


def ask_nodes(raw: Any, datacenter: str) -> Health:
    """Ask every node of the data centre that is up at once, and return what they said within `ANSWER_S`."""
    query = SimpleStatement(
        "SELECT schema_version, toUnixTimestamp(now()) AS clock_ms FROM system.local",
        consistency_level=ConsistencyLevel.ONE,
    )
    known = [host for host in raw.cluster.metadata.all_hosts() if host.datacenter == datacenter]
    hosts = sorted(known, key=lambda host: str(host.address))
    asked = [(host, Question(raw, query, host) if host.is_up else None) for host in hosts]
    return Health(tuple(_judge(host, question) for host, question in asked))


class Question:
    """A query on its way to one node; remembers when the answer arrived, not when somebody looked."""

    def __init__(self, raw: Any, query: SimpleStatement, host: Any) -> None:
        self._sent_at = time.time()
        self._arrived_at: float | None = None
        self._future = raw.execute_async(query, host=host, timeout=ANSWER_S)
        self._future.add_callback(self._note_arrival)

    def _note_arrival(self, _rows: Any) -> None:
        self._arrived_at = time.time()

    def answer(self) -> list[dict[str, Any]] | None:
        """Wait for the rows; None if the node did not answer within `ANSWER_S`."""
        try:
            rows = list(self._future.result())
        except DRIVER_ERRORS:
            return None
        self._arrived_at = self._arrived_at or time.time()  # the driver wakes us before it calls back
        return rows

    @property
    def took_s(self) -> float:
        """How long the answer was under way, there and back."""
        return (self._arrived_at or time.time()) - self._sent_at

    @property
    def middle(self) -> float:
        """The moment in the middle between sending and arriving, in seconds since 1970."""
        return self._sent_at + self.took_s / 2


def _judge(host: Any, question: Question | None) -> NodeHealth:
    skew_s, schema_version = None, None
    rows = question.answer() if question else None
    if question and rows:
        # The node read its clock somewhere between: the middle is wrong by at most half the round trip.
        skew_s = rows[0]["clock_ms"] / 1000 - question.middle
        schema_version = str(rows[0]["schema_version"])
    return NodeHealth(str(host.address), str(host.datacenter), bool(host.is_up), skew_s, schema_version)
