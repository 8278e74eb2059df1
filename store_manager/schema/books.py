"""The schema tools' own tables: the lock, the history, the migrations and how far they are.

They are declared here as Models, so that they are made as all others are, but they are no part of the store: the
service asks them only when the oldest event was, and a plan neither adds them nor reports them. A sync makes them
before it takes the lock, which stands in one of them: their statements may be met by any number of first-comers at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel

if TYPE_CHECKING:
    from store_manager.database.connections import Database


class SchemaLock(StoreModel):
    """Who may change the schema now. Serves: the lock. One row, in a partition of its own. Owned by LWT on `version`.

    `holder_id` is new for each taking and null while nobody holds it. `version` grows by one with each taking, renewal
    and release: a holder whose version has stood still for `lease_s` is gone, by the clock of whoever waits.
    """

    __table_name__ = "schema_lock"

    name = columns.Text(partition_key=True)
    version = columns.BigInt()
    holder_id = columns.UUID()
    holder = columns.Text()
    purpose = columns.Text()
    lease_s = columns.Double()
    taken_at = columns.DateTime()


class SchemaEvent(StoreModel):
    """What was done to the schema, newest first. Serves: `schema history`. Plain, idempotent writes.

    All rows are in one partition: a few dozen for each deployment that changes anything.
    """

    __table_name__ = "schema_history"

    book = columns.Text(partition_key=True)
    event_id = columns.TimeUUID(primary_key=True, clustering_order="DESC")
    kind = columns.Text()
    what = columns.Text()
    cql = columns.Text()
    outcome = columns.Text()
    destroys = columns.Text()
    store_version = columns.Text()
    holder = columns.Text()
    duration_s = columns.Double()


class SchemaMigration(StoreModel):
    """A migration that was begun, applied, or not needed. Serves: which ones are pending. Plain, idempotent writes.

    All rows are in one partition: one for each file of `migrations/`.
    """

    __table_name__ = "schema_migrations"

    book = columns.Text(partition_key=True)
    name = columns.Text(primary_key=True)
    title = columns.Text()
    checksum = columns.Text()
    outcome = columns.Text()
    begun_at = columns.DateTime()
    ended_at = columns.DateTime()
    store_version = columns.Text()
    holder = columns.Text()
    duration_s = columns.Double()


class SchemaMark(StoreModel):
    """A part of a migration that is done. Serves: going on after an interruption, and telling how far it is.

    Plain, idempotent writes. A partition has a row for each statement and confirmation of a migration, and for each
    part of its back-fills, 1,024 by default. A file that was changed has other marks.
    """

    __table_name__ = "schema_marks"

    migration = columns.Text(partition_key=True)
    checksum = columns.Text(partition_key=True)
    step = columns.Text(primary_key=True)
    part = columns.Integer(primary_key=True)
    parts = columns.Integer()
    rows = columns.BigInt()
    done_at = columns.DateTime()
    holder = columns.Text()


SCHEMA_MODELS: tuple[type[StoreModel], ...] = (SchemaLock, SchemaEvent, SchemaMigration, SchemaMark)
"""Every Model of the schema tools."""


def are_kept(database: Database, keyspace: str) -> bool:
    """Tell whether a keyspace, as the driver knows it, has these tables."""
    known = database.cluster.metadata.keyspaces.get(keyspace)
    return known is not None and all(model.__table_name__ in known.tables for model in SCHEMA_MODELS)
