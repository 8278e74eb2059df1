"""The columns that every listing table shares: keys in time order, spread over buckets, with a directory of buckets.

A listing holds keys only; what it names is read from its own table, so a listing can never contradict it. Listing
rows are plain writes with values that never change, so that writing one again is harmless.
"""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel


class Listing(StoreModel):
    """Keys of one scope, day and shard, newest first. Plain, idempotent writes."""

    __abstract__ = True

    scope = columns.Text(partition_key=True)
    day = columns.Date(partition_key=True)
    shard = columns.TinyInt(partition_key=True)
    position = columns.Text(primary_key=True, clustering_order="DESC")
    """RFC 3339 time of creation in milliseconds and the key, so that the order is total and the same everywhere."""
    key = columns.UUID()


class ListingDirectory(StoreModel):
    """The buckets of one scope, newest day first: readers ask only those with rows. Plain, idempotent writes."""

    __abstract__ = True

    scope = columns.Text(partition_key=True)
    day = columns.Date(primary_key=True, clustering_order="DESC")
    shard = columns.TinyInt(primary_key=True)
