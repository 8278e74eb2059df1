"""How old a keyspace is, and for how long its tables keep what was deleted: what a repair has to keep up with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.sessions import PreparingSession

HISTORY, BOOK = "schema_history", "store"
"""The table in which the schema tools note what they do, and its only partition."""

_MADE = "SELECT writetime(durable_writes) AS made_us FROM system_schema.keyspaces WHERE keyspace_name = %(keyspace)s"
_GRACES = "SELECT gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = %(keyspace)s"


@dataclass(frozen=True)
class Ages:
    """Since when a keyspace is known to be there (naive UTC), and the shortest `gc_grace_seconds` of its tables."""

    made_at: datetime
    gc_grace: timedelta


def ask_ages(session: PreparingSession, keyspace: str) -> Ages | None:
    """Ask for the ages of a keyspace; None if there is none, or it has no tables.

    Raises DatabaseUnavailable, within the time-out of a read or the deadline.
    """
    made = session.execute(_MADE, {"keyspace": keyspace}).one()
    graces = [row["gc_grace_seconds"] for row in session.execute(_GRACES, {"keyspace": keyspace})]
    if made is None or not graces:
        return None
    # Cassandra writes a keyspace's row anew with each change of a table: it is as young as the last one.
    altered_at = datetime.fromtimestamp(made["made_us"] / 1_000_000, UTC).replace(tzinfo=None)
    return Ages(min([altered_at, *_find_first_event(session, keyspace)]), timedelta(seconds=min(graces)))


def _find_first_event(session: PreparingSession, keyspace: str) -> Iterator[datetime]:
    """Give the time of the oldest event of the schema's history; nothing if no history is kept.

    Consistency: the read level. Idempotent. Partition: (book), one row of it.
    """
    known = session.cluster.metadata.keyspaces.get(keyspace)
    if known is None or HISTORY not in known.tables:
        return
    cql = (
        f"SELECT toTimestamp(event_id) AS began_at FROM {keyspace}.{HISTORY} "  # noqa: S608 - the setting has no quotes
        "WHERE book = %(book)s ORDER BY event_id ASC LIMIT 1"
    )
    for row in session.execute(cql, {"book": BOOK}):
        yield row["began_at"]
