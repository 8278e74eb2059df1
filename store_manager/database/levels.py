"""Consistency levels: which one the reads of the work at hand have, how many copies it takes, what it may miss.

What happens when too few copies answer is decided where statements are sent (`store_manager.database.sessions`).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cassandra import ConsistencyLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_RESORT = ConsistencyLevel.LOCAL_ONE
"""The level of reads that would rather be old than refused."""

_COUNTS = {
    ConsistencyLevel.ONE: 1,
    ConsistencyLevel.LOCAL_ONE: 1,
    ConsistencyLevel.TWO: 2,
    ConsistencyLevel.THREE: 3,
}


@dataclass(frozen=True)
class Reading:
    """How plain reads are made: at which level (None: the configured one), and whether rather old than not at all."""

    level: int | None = None
    may_be_stale: bool = False


_CONFIGURED = Reading()
_reading: ContextVar[Reading] = ContextVar("reading", default=_CONFIGURED)


@contextmanager
def reading(level: str, *, may_be_stale: bool) -> Iterator[None]:
    """Make the plain reads inside at this level; at `LAST_RESORT` when too few copies answer, if they may be stale.

    A read that names a level itself keeps it.
    """
    token = _reading.set(Reading(ConsistencyLevel.name_to_value[level], may_be_stale))
    try:
        yield
    finally:
        _reading.reset(token)


def at_hand() -> Reading:
    """Return how plain reads are made here."""
    return _reading.get()


def name_of(level: int) -> str:
    """Return a level's name."""
    return str(ConsistencyLevel.value_to_name[level])


def copies_needed(level: int, copies: int) -> int:
    """Return how many of a row's copies have to answer at this level."""
    if level == ConsistencyLevel.ALL:
        return copies
    return _COUNTS.get(level, copies // 2 + 1)


def may_miss(read: int, write: int, copies: int) -> bool:
    """Tell whether a read may miss a write that was acknowledged: no copy need be in both their answers."""
    return copies_needed(read, copies) + copies_needed(write, copies) <= copies


def find_gaps(read: str, write: str, copies: int) -> list[str]:
    """Return sentences on what the store may lose if its own plain reads and its writes have these levels.

    They are not only those of requests: intents, listings, the ledger and the commit of conditional writes go by them.
    """
    of_reads, of_writes = ConsistencyLevel.name_to_value[read], ConsistencyLevel.name_to_value[write]
    reading, writing = copies_needed(of_reads, copies), copies_needed(of_writes, copies)
    found = []
    if may_miss(of_reads, of_writes, copies):
        found.append(
            f"CASSANDRA_READ_CONSISTENCY ({read}) and CASSANDRA_WRITE_CONSISTENCY ({write}) take {reading} and "
            f"{writing} of {copies} copies, of which none need be the same: a read may miss what was acknowledged, and "
            "recovery an order that a crash has left, whose units stay reserved"
        )
    quorum = copies_needed(ConsistencyLevel.QUORUM, copies)
    if writing < quorum:
        found.append(
            f"CASSANDRA_WRITE_CONSISTENCY ({write}) takes {writing} of {copies} copies, fewer than a quorum "
            f"({quorum}): what was acknowledged is lost with the nodes that alone have it, movements that have left "
            "for the ledger and intents of orders among it"
        )
    return found
