"""The listings: keys in time order, newest first, read bucket by bucket and merged."""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING
from uuid import UUID

from store_manager.models import (
    CategoryListing,
    CategoryListingDirectory,
    OrderIntent,
    OrderIntentDirectory,
    OrderListing,
    OrderListingDirectory,
    ProductListing,
    ProductListingDirectory,
    UserListing,
    UserListingDirectory,
    UserOrderListing,
    UserOrderListingDirectory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.models.listings import Listing, ListingDirectory

ALL = "all"
"""The scope of a listing that has only one."""

MOST_BUCKETS = 64
"""How many days of the directory one walk reads at most; a walk that stops there says where to go on."""

MOST_ANNOUNCED = 10_000

Bucket = tuple[date, int]
"""A day and a shard."""

Announced = tuple[str, str, date, int]
"""A keyspace, a scope and a bucket that this process has put into the directory."""


@dataclass(frozen=True)
class ListingTable:
    """A listing and its directory; `shards` is over how many partitions a day's rows are spread."""

    rows: type[Listing]
    directory: type[ListingDirectory]
    shards: int
    announced: set[Announced] = field(default_factory=set, compare=False)
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False)


PRODUCTS = ListingTable(ProductListing, ProductListingDirectory, shards=8)
CATEGORIES = ListingTable(CategoryListing, CategoryListingDirectory, shards=8)
USERS = ListingTable(UserListing, UserListingDirectory, shards=4)
ORDERS = ListingTable(OrderListing, OrderListingDirectory, shards=8)
USER_ORDERS = ListingTable(UserOrderListing, UserOrderListingDirectory, shards=1)
INTENTS = ListingTable(OrderIntent, OrderIntentDirectory, shards=4)
TABLES = (PRODUCTS, CATEGORIES, USERS, ORDERS, USER_ORDERS, INTENTS)


@dataclass(frozen=True)
class Entry:
    """A key of a listing and its position, from which a later walk can go on."""

    position: str
    key: UUID


def position_of(key: UUID, created_at: datetime) -> str:
    """Return where a key stands in time order: the same text for the same key and time (naive UTC), always."""
    return f"{time_of(created_at)}/{key}"


def time_of(moment: datetime) -> str:
    """Return the position before all keys of a moment (naive UTC), and after all earlier ones."""
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def bucket_of(table: ListingTable, key: UUID, created_at: datetime) -> Bucket:
    """Return in which bucket of its scope a key stands: the same for the same key and time (naive UTC), always."""
    return created_at.date(), key.int % table.shards


def add(table: ListingTable, scope: str, key: UUID, created_at: datetime) -> None:
    """List a key, its bucket first; `created_at` is naive UTC.

    Consistency: the write level. Idempotent: plain writes of values that never change. Partitions: the directory's
    (scope) once a process, the listing's (scope, day, shard).
    """
    day, shard = bucket_of(table, key, created_at)
    bucket = (str(table.directory._get_keyspace()), scope, day, shard)  # noqa: SLF001 - no public way
    if bucket not in table.announced:
        table.directory.create(scope=scope, day=day, shard=shard)
        _remember(table, bucket)
    table.rows.create(scope=scope, day=day, shard=shard, position=position_of(key, created_at), key=key)


def _remember(table: ListingTable, bucket: Announced) -> None:
    with table.lock:
        if len(table.announced) >= MOST_ANNOUNCED:
            table.announced.clear()
        table.announced.add(bucket)


def remove(table: ListingTable, scope: str, key: UUID, created_at: datetime) -> None:
    """Take a key off the list; its bucket stays in the directory.

    Consistency: the write level. Idempotent. Partition: the listing's (scope, day, shard).
    """
    day, shard = bucket_of(table, key, created_at)
    table.rows.objects(scope=scope, day=day, shard=shard, position=position_of(key, created_at)).delete()


@dataclass(frozen=True)
class Walk:
    """What a walk found, newest first; `next` is the position to go on before, or None at the end of the listing.

    `asked` is how many buckets were read for it.
    """

    entries: list[Entry]
    next: str | None
    asked: int


def walk(table: ListingTable, scope: str, *, before: str | None, limit: int, since: date = date.min) -> Walk:
    """Return up to `limit` entries older than the position `before`, none of a day before `since`.

    It reads at most `MOST_BUCKETS` directory rows, so it may find fewer than `limit` and still name a `next`.
    Consistency: the read level. Idempotent. Partitions: the directory's (scope), then (scope, day, shard) for each
    bucket until `limit` is reached.
    """
    newest = date.fromisoformat(before[:10]) if before else date.max
    directory = table.directory.objects(scope=scope, day__lte=newest, day__gte=since).limit(MOST_BUCKETS)
    buckets = [(bucket.day.date(), bucket.shard) for bucket in directory]
    more = len(buckets) == MOST_BUCKETS
    if more:  # the page may have cut its last day in two: leave that day to the next walk
        buckets = [bucket for bucket in buckets if bucket[0] != buckets[-1][0]]
    entries: list[Entry] = []
    asked = 0
    for _, of_one_day in groupby(buckets, key=lambda bucket: bucket[0]):
        together = list(of_one_day)
        entries += _read_day(table, scope, together, before, limit - len(entries))
        asked += len(together)
        if len(entries) >= limit:
            return Walk(entries, entries[-1].position, asked)
    return Walk(entries, buckets[-1][0].isoformat() if more else None, asked)


def _read_day(table: ListingTable, scope: str, buckets: list[Bucket], before: str | None, limit: int) -> list[Entry]:
    """Merge the shards of one day, newest first."""
    parts = [_read_bucket(table, scope, bucket, before, limit) for bucket in buckets]
    merged: Iterator[Entry] = heapq.merge(*parts, key=lambda entry: entry.position, reverse=True)
    return list(islice(merged, limit))


def _read_bucket(table: ListingTable, scope: str, bucket: Bucket, before: str | None, limit: int) -> list[Entry]:
    day, shard = bucket
    end = before if before is not None else AFTER_ALL
    rows = table.rows.objects(scope=scope, day=day, shard=shard, position__lt=end).limit(limit)
    return [Entry(row.position, row.key) for row in rows]


def list_days(table: ListingTable, scope: str, shard: int, *, since: date) -> list[date]:
    """Return the days from `since` on that have rows in a shard, oldest first.

    Consistency: the read level. Idempotent. Partition: the directory's (scope).
    """
    directory = table.directory.objects(scope=scope, day__gte=since).limit(None)
    return sorted(bucket.day.date() for bucket in directory if bucket.shard == shard)


def list_upwards(table: ListingTable, scope: str, bucket: Bucket, *, after: str, until: str, limit: int) -> list[Entry]:
    """Return up to `limit` entries of one bucket after a position and up to another, oldest first.

    Consistency: the read level. Idempotent. Partition: (scope, day, shard).
    """
    day, shard = bucket
    span = table.rows.objects(scope=scope, day=day, shard=shard, position__gt=after, position__lte=until)
    return [Entry(row.position, row.key) for row in span.order_by("position").limit(limit)]


AFTER_ALL = "~"
"""Sorts after every position, so that a first page has the same statement as the others."""


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    now, nil = datetime.now(UTC).replace(tzinfo=None), UUID(int=0)
    for table in TABLES:
        table.directory.create(scope="", day=now.date(), shard=0)
        table.rows.create(scope="", day=now.date(), shard=0, position="", key=nil)
        remove(table, "", nil, now)
        walk(table, "", before=None, limit=1)
        _read_bucket(table, "", (now.date(), 0), None, 1)
        list_days(table, "", 0, since=now.date())
        list_upwards(table, "", (now.date(), 0), after="", until="", limit=1)
