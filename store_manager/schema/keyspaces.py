"""What there is: a keyspace as its nodes tell it, with what the driver leaves out. Nothing here compares or changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.errors import DatabaseUnavailable
from store_manager.schema.agreements import learn_schema
from store_manager.schema.options import options_of
from store_manager.schema.replications import Ring
from store_manager.schema.tables import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from store_manager.database.connections import Database


_TABLES = "SELECT * FROM system_schema.tables WHERE keyspace_name = %s"
_DROPPED = "SELECT * FROM system_schema.dropped_columns WHERE keyspace_name = %s"


@dataclass(frozen=True)
class Existing:
    """A table that exists: the driver's metadata, and what `system_schema` tells beside it.

    `dropped` are the columns that it once had: Cassandra does not take back each name with each type.
    """

    metadata: Any
    id: UUID
    options: Mapping[str, Any]
    dropped: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True)
class Keyspace:
    """A keyspace that exists: the driver's metadata, and its tables by name."""

    metadata: Any
    tables: Mapping[str, Existing]


@dataclass(frozen=True)
class Findings:
    """What the nodes tell: the keyspace, if there is one, the ring, and which options of tables they know."""

    keyspace: Keyspace | None
    ring: Ring
    options: frozenset[str]


def find_keyspace(database: Database, name: str) -> Findings:
    """Return what the nodes tell of a keyspace, once all that are up agree.

    Raises SchemaDisagreement if they don't, DatabaseUnavailable if they don't answer.
    """
    learn_schema(database)
    metadata = database.cluster.metadata
    ring = Ring(tuple(metadata.all_hosts()), metadata.token_map)
    known = frozenset(options_of(metadata.keyspaces["system_schema"].tables["tables"].columns))
    keyspace = metadata.keyspaces.get(name)
    found = None if keyspace is None else Keyspace(keyspace, _find_tables(database, keyspace))
    return Findings(found, ring, known)


def _find_tables(database: Database, keyspace: Any) -> dict[str, Existing]:
    rows = {row["table_name"]: row for row in _ask(database, _TABLES, keyspace.name)}
    dropped: dict[str, dict[str, Column]] = {}
    for row in _ask(database, _DROPPED, keyspace.name):
        role = "static" if row["kind"] == "static" else "plain"
        dropped.setdefault(row["table_name"], {})[row["column_name"]] = Column(row["type"], role)
    return {
        name: Existing(table, rows[name]["id"], options_of(rows[name]), dropped.get(name, {}))
        for name, table in keyspace.tables.items()
        if name in rows  # it may have been dropped since
    }


def _ask(database: Database, query: str, keyspace: str) -> Iterable[dict[str, Any]]:
    try:
        rows: Iterable[dict[str, Any]] = database.raw.execute(query, [keyspace])
    except DRIVER_ERRORS as error:
        raise DatabaseUnavailable("The database did not tell its schema") from error
    return rows
