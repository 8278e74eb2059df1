"""The history: what was done to the schema, when, by which version of the store, by whom, how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid1

from store_manager import __version__
from store_manager.schema.attempts import insist

if TYPE_CHECKING:
    from store_manager.database.connections import Database

BOOK = "store"
"""The partition of all events, and of all migrations."""

STEP, MIGRATION, CONFIRMATION, UNLOCK = "step", "migration", "confirmation", "unlock"
"""The kinds of events."""

BEGUN, APPLIED, FAILED, NOT_NEEDED = "begun", "applied", "failed", "not needed"
"""How an event ended; one that stays begun was interrupted, and may or may not have happened."""

_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """One thing that was done; `destroys` names what was lost by it."""

    kind: str
    what: str
    holder: str
    cql: str | None = None
    outcome: str = APPLIED
    destroys: str | None = None
    store_version: str = __version__
    duration_s: float | None = None
    event_id: UUID = field(default_factory=uuid1)

    @property
    def at(self) -> datetime:
        """When it began, UTC."""
        return datetime.fromtimestamp(_UUID_EPOCH.timestamp() + self.event_id.time / 10_000_000, UTC)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "kind": self.kind,
            "what": self.what,
            "outcome": self.outcome,
            "cql": self.cql,
            "destroys": self.destroys,
            "store_version": self.store_version,
            "by": self.holder,
            "duration_s": self.duration_s,
        }


class Entry:
    """An event that is under way: written when it begins, and again when it ends."""

    def __init__(self, database: Database, keyspace: str, event: Event) -> None:
        self._database, self._keyspace = database, keyspace
        self._event = replace(event, outcome=BEGUN)
        self._began_s = time.monotonic()
        record(database, keyspace, self._event)

    def end(self, outcome: str) -> None:
        """Write how it ended and how long it took."""
        duration_s = round(time.monotonic() - self._began_s, 3)
        record(self._database, self._keyspace, replace(self._event, outcome=outcome, duration_s=duration_s))


def record(database: Database, keyspace: str, event: Event) -> None:
    """Write an event, or write it anew; asks again for half a minute.

    Consistency: the write level. Idempotent. Partition: (book).
    """
    values = {**vars(event), "book": BOOK}
    markers = ", ".join(f"%({name})s" for name in values)
    cql = f"INSERT INTO {keyspace}.schema_history ({', '.join(values)}) VALUES ({markers})"  # noqa: S608
    insist(lambda: database.session.execute(cql, values))


def list_events(database: Database, keyspace: str, limit: int) -> list[Event]:
    """Return the newest events, newest first, at most `limit`.

    Consistency: the read level. Idempotent. Partition: (book).
    """
    cql = f"SELECT {_COLUMNS} FROM {keyspace}.schema_history WHERE book = %(book)s LIMIT {limit}"  # noqa: S608
    return [Event(**row) for row in database.session.execute(cql, {"book": BOOK})]


def find_destroyed(database: Database, keyspace: str) -> dict[str, Event]:
    """Return what was destroyed, or may have been, by its name; the newest event of each.

    Consistency: the read level. Idempotent. Partition: (book), all of it.
    """
    cql = f"SELECT {_COLUMNS} FROM {keyspace}.schema_history WHERE book = %(book)s"  # noqa: S608
    events = insist(lambda: [Event(**row) for row in database.session.execute(cql, {"book": BOOK})])
    return {event.destroys: event for event in reversed(events) if event.destroys and event.outcome != FAILED}


_COLUMNS = ", ".join(Event.__dataclass_fields__)
