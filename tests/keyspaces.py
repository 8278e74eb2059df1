"""Keyspaces beside the one of the run, on the connection that this process has: for tests that look at whole stores."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from cassandra.cqlengine import models

from store_manager.dao import REHEARSALS, listings, scans
from store_manager.database.connections import prepare_all
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.connections import Database
    from store_manager.settings import Settings


@contextmanager
def own_keyspace(database: Database, settings: Settings) -> Iterator[Settings]:
    """Settings for a new keyspace with all tables and every statement prepared, which is dropped at the end."""
    own = replace(settings, cassandra_keyspace=f"own_{uuid4().hex[:12]}")
    sync(database, own)
    with used(own):
        prepare_all((*REHEARSALS, scans.rehearse))
    yield own
    for shape in [shape for shape in database.session.shapes if own.cassandra_keyspace in shape]:
        del database.session._prepared[shape]
    database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")


@contextmanager
def used(own: Settings) -> Iterator[None]:
    """Let the Models use this keyspace."""
    before, models.DEFAULT_KEYSPACE = models.DEFAULT_KEYSPACE, own.cassandra_keyspace
    forget_buckets()
    try:
        yield
    finally:
        models.DEFAULT_KEYSPACE = before
        forget_buckets()


def forget_buckets() -> None:
    """What this process has announced, it has announced in another keyspace."""
    for table in listings.TABLES:
        table.announced.clear()
