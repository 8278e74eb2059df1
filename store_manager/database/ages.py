"""How old a keyspace is, and for how long its tables keep what was deleted: what a repair has to keep up with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.errors import DatabaseUnavailable


@dataclass(frozen=True)
class Ages:
    """When a keyspace was made or last altered (naive UTC), and the shortest `gc_grace_seconds` of its tables."""

    altered_at: datetime
    gc_grace: timedelta


def ask_ages(raw: Any, keyspace: str) -> Ages | None:
    """Ask for the ages of a keyspace; None if there is none, or it has no tables. Raises DatabaseUnavailable."""
    try:
        made = raw.execute(
            "SELECT writetime(durable_writes) AS made_us FROM system_schema.keyspaces WHERE keyspace_name = %s",
            [keyspace],
        ).one()
        tables = raw.execute("SELECT gc_grace_seconds FROM system_schema.tables WHERE keyspace_name = %s", [keyspace])
        graces = [row["gc_grace_seconds"] for row in tables]
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable("The database did not tell the age of the keyspace") from error
    if made is None or not graces:
        return None
    altered_at = datetime.fromtimestamp(made["made_us"] / 1_000_000, UTC).replace(tzinfo=None)
    return Ages(altered_at, timedelta(seconds=min(graces)))
