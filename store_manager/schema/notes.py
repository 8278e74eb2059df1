"""The CQL that cqlengine's schema management would send: noted instead of sent, and made safe to meet twice.

`sync_table` itself sends its statements in a row, without a look at the nodes' agreement, and fails on a table that
somebody else has just made. What is noted here is sent one by one by `store_manager.schema.syncs`.
"""

from __future__ import annotations

import copy
import os
import re
import uuid
from collections import defaultdict
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cassandra.cqlengine import connection
from cassandra.cqlengine.management import (
    CQLENG_ALLOW_SCHEMA_MANAGEMENT,
    create_keyspace_network_topology,
    sync_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.models import StoreModel


def note_keyspace(keyspace: str, replicas: dict[str, int]) -> str:
    """Return the statement that creates a keyspace with so many replicas in each data centre."""
    with _listening({}) as (name, statements):
        create_keyspace_network_topology(keyspace, replicas, connections=[name])
    return statements[0]


def note_table(keyspace: str, model: type[StoreModel], existing: Any | None) -> list[str]:
    """Return the statements that `sync_table` has for this Model; `existing` is the table's metadata, if there is one.

    Without the options of an existing table (`sync_table` quotes a text twice when it alters one), and without its
    warning about another type.
    """
    # Right after it has created a table, sync_table looks for its indexes.
    tables: dict[str, Any] = defaultdict(lambda: SimpleNamespace(indexes={}))
    if existing is not None:
        tables[existing.name] = _pretend(model, existing)
        # A text that is declared with a = in it would break sync_table, as one that is there already would.
        model = type(model.__name__, (model,), {"__table_name__": existing.name, "__options__": {}})
    with _listening({keyspace: SimpleNamespace(tables=tables)}) as (name, statements):
        sync_table(model, keyspaces=[keyspace], connections=[name])
    return statements


def _pretend(model: type[StoreModel], existing: Any) -> Any:
    pretended = copy.copy(existing)
    pretended.options = {}
    types = {column.db_field_name: column.db_type for column in model._columns.values()}  # noqa: SLF001 - no public way
    pretended.columns = {name: SimpleNamespace(cql_type=types.get(name)) for name in existing.columns}
    return pretended


class _Ear:
    """Stands where cqlengine expects a cluster and a session: notes each statement and answers nothing."""

    def __init__(self, keyspaces: dict[str, Any]) -> None:
        self.metadata = SimpleNamespace(keyspaces=keyspaces)
        self.statements: list[str] = []

    def execute(self, query: Any, _parameters: Any, **_options: Any) -> None:
        self.statements.append(_make_repeatable(query.query_string))

    def shutdown(self) -> None:
        """Do nothing: cqlengine ends the cluster of a connection that it forgets."""


@contextmanager
def _listening(keyspaces: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    # Without it cqlengine warns at each call that it will want it one day.
    os.environ.setdefault(CQLENG_ALLOW_SCHEMA_MANAGEMENT, "1")
    name, ear = f"schema-{uuid.uuid4()}", _Ear(keyspaces)
    # Registered as lazy, so that cqlengine connects to nothing.
    registered = connection.register_connection(name, lazy_connect=True)
    registered.lazy_connect, registered.cluster, registered.session = False, ear, ear
    try:
        yield name, ear.statements
    finally:
        connection.unregister_connection(name)


def _make_repeatable(cql: str) -> str:
    created = re.sub(r"^CREATE (KEYSPACE|TABLE|INDEX) ", r"CREATE \1 IF NOT EXISTS ", cql)
    return re.sub(r"^(ALTER TABLE \S+) add ", r"\1 ADD IF NOT EXISTS ", created).strip()
