"""What the nodes say of themselves: who is up, whose clock is right, whether all have the same schema.

And reach: which part of the rows can be read and written with the nodes that are left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from store_manager.database.failures import DRIVER_ERRORS

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


class Part(IntEnum):
    """For how many rows something is possible."""

    NONE = 0
    SOME = 1
    ALL = 2

    @classmethod
    def of(cls, enough: int, ranges: int) -> Part:
        """Return the part for which so many of these ranges stand; of no range, nothing is known to be missing."""
        return cls.ALL if enough == ranges else cls.SOME if enough else cls.NONE


@dataclass(frozen=True)
class Reach:
    """Which part of the rows can be read, at least as they were some time ago, and which part can be written.

    `exact` says it of what is never read as it was some time ago: what it is, which part of it, and by which setting.
    """

    reading: Part
    writing: Part
    exact: tuple[tuple[str, Part, str], ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Sentences for people about what can't be done."""
        named = {"read": self.reading, "written": self.writing}
        amounts = {Part.NONE: "Nothing can be", Part.SOME: "Some rows can't be"}
        found = [
            f"{amounts[part]} {what}: too few copies can be reached"
            for what, part in named.items()
            if part is not Part.ALL
        ]
        for what, part, setting in self.exact:
            if part < self.reading:
                amount = f"Some {what}" if part is Part.SOME else what.capitalize()
                found.append(f"{amount} can't be read: too few copies can be reached for {setting}")
        return found


def ask_nodes(raw: Any, datacenter: str, timeout_s: float) -> Health:
    """Ask every node of the data centre that is up at once, and return what they said within this time."""
    query = SimpleStatement(
        "SELECT schema_version, toUnixTimestamp(now()) AS clock_ms FROM system.local",
        consistency_level=ConsistencyLevel.ONE,
    )
    known = [host for host in raw.cluster.metadata.all_hosts() if host.datacenter == datacenter]
    hosts = sorted(known, key=lambda host: str(host.address))
    asked = [(host, _Question(raw, query, host, timeout_s) if host.is_up else None) for host in hosts]
    return Health(tuple(_judge(host, question.answer() if question else None) for host, question in asked))


class _Question:
    """A query on its way to one node; remembers when the answer arrived, not when somebody looked."""

    def __init__(self, raw: Any, query: SimpleStatement, host: Any, timeout_s: float) -> None:
        self._sent_at = time.time()
        self._arrived_at: float | None = None
        self._future = raw.execute_async(query, host=host, timeout=timeout_s)
        self._future.add_callback(self._note_arrival)

    def _note_arrival(self, _rows: Any) -> None:
        self._arrived_at = time.time()

    def answer(self) -> tuple[float, str] | None:
        try:
            row = self._future.result().one()
        except DRIVER_ERRORS:
            return None
        arrived_at = self._arrived_at or time.time()  # the driver wakes us before it calls back
        # The node read its clock somewhere between: the middle is wrong by at most half the round trip.
        middle = (self._sent_at + arrived_at) / 2
        return row["clock_ms"] / 1000 - middle, str(row["schema_version"])


def _judge(host: Any, answer: tuple[float, str] | None) -> NodeHealth:
    skew_s, schema_version = answer or (None, None)
    return NodeHealth(str(host.address), str(host.datacenter), bool(host.is_up), skew_s, schema_version)
