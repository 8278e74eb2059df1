"""Walks of whole tables and partitions, page by page, for the audit: in memory is the page at hand, and nothing else.

A table is walked in the order of its tokens, while others write: what a walk yields may have changed since, so whoever
judges it reads it again. A page to which no answer came is asked for again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, cast
from uuid import UUID

from cassandra.cqlengine import connection

from store_manager.dao import conditional, listings, rows
from store_manager.database.pages import find_place_on_ring, read_first
from store_manager.errors import DatabaseUnavailable
from store_manager.models import Claim, OrderRow, Product, User
from store_manager.models.orders import Order
from store_manager.models.stocks import (
    HEAD,
    LEDGER_SPAN,
    MOVEMENT,
    OPERATION,
    LedgerMovement,
    Stock,
    StockMovement,
    StockOperation,
    StockRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from cassandra.cqlengine.query import ModelQuerySet

    from store_manager.dao.listings import ListingTable
    from store_manager.database.pages import RowPage
    from store_manager.models.base import StoreModel

T = TypeVar("T")
RowT = TypeVar("RowT", "Line", "Listed")

NEVER = datetime(1, 1, 1)  # noqa: DTZ001 - cqlengine's times are naive UTC

ROWS_A_PAGE = 2_000
STOCKS_A_PAGE = 25
"""A stock is a whole partition, read by whoever walks the stocks."""
OPERATIONS_A_PAGE = 5_000
"""A partition that fits one page is read at one version, however often it changes meanwhile."""
MOVEMENTS_A_PAGE = 2_000
LEFT_A_SLICE = 50_000
"""How many operations may have left one slice of a partition: a read goes over what was deleted in the last ten days,
and Cassandra refuses one that meets 100,000 deletions."""
READ_TOGETHER = 50
"""How many rows one statement reads by their keys: bounded, so that no coordinator gathers too much."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a table, and how much of the table has been walked with it, from 0 to 1."""

    items: list[T]
    reached: float


class Line(NamedTuple):
    """A line of an order, with what concerns all of its lines: the columns of `OrderRow` that an audit looks at."""

    order_id: UUID
    line: int
    user_id: UUID | None
    status: str | None
    order_total: Decimal | None
    created_at: datetime | None
    updated_at: datetime | None
    settled: bool | None
    product_id: UUID | None
    quantity: int | None
    unit_price: Decimal | None
    total: Decimal | None


class StockEntry(NamedTuple):
    """The head of a stock or one of its operations: the columns of `StockRow` that an audit looks at."""

    kind: int
    operation_id: UUID
    on_hand: int | None
    reserved: int | None
    version: int | None
    drained: int | None
    order_id: UUID | None
    held: int | None
    operation_state: str | None


class Reserved(NamedTuple):
    """What a reservation holds: the columns of `StockOperation` that an audit looks at."""

    operation_id: UUID
    held: int | None
    operation_state: str | None


class Moved(NamedTuple):
    """What one version of a stock changed, as far as its row says; `drained` if it was read in the ledger."""

    drained: bool
    version: int
    operation_id: UUID
    delta: int | None
    reserved_delta: int | None
    reason: str | None


MOVED = ("sequence", "operation_id", "delta", "reserved_delta", "reason")


class Listed(NamedTuple):
    """A row of a listing, where it stands, rightly or not."""

    scope: str
    day: date
    shard: int
    position: str
    key: UUID | None


Bucketed: TypeAlias = tuple[str, listings.Bucket]
"""A scope and one of its buckets."""


@dataclass(frozen=True)
class Place:
    """Where a key must stand in a listing, by what the key names."""

    table: ListingTable
    scope: str
    key: UUID
    created_at: datetime

    @property
    def bucket(self) -> listings.Bucket:
        """The day and shard."""
        return listings.bucket_of(self.table, self.key, self.created_at)

    @property
    def position(self) -> str:
        """The position in the bucket."""
        return listings.position_of(self.key, self.created_at)


def patiently(read: Callable[[], T]) -> T:
    """Read again and again until the database answers, for half a minute or until the deadline."""
    failed: DatabaseUnavailable | None = None
    for pause_s in conditional.pauses():
        try:
            return read()
        except DatabaseUnavailable as error:
            failed = error
        time.sleep(pause_s)
    raise failed or DatabaseUnavailable("The time was over before the database was asked.")


def _walk(queryset: ModelQuerySet, size: int) -> Iterator[list[Any]]:
    page: RowPage | None = patiently(partial(read_first, queryset.fetch_size(size)))
    while page is not None:
        if page.items:
            yield page.items
        page = patiently(page.read_next)


def _walk_table(model: type[StoreModel]) -> Iterator[Page[Any]]:
    for items in _walk(model.objects.all(), ROWS_A_PAGE):
        yield Page(items, find_place_on_ring(model, items[-1]))


def _walk_columns(model: type[StoreModel], shape: type[RowT]) -> Iterator[Page[RowT]]:
    """Walk a table as named tuples: a Model's instance costs many times as much as the reading of its row."""
    for page in _walk(model.objects.values_list(*shape._fields), ROWS_A_PAGE):
        items = [shape(*values) for values in page]
        yield Page(items, find_place_on_ring(model, items[-1]))


def _walk_keys(model: type[StoreModel], size: int) -> Iterator[Page[Any]]:
    for items in _walk(model.objects.distinct(list(model._partition_keys)), size):  # noqa: SLF001 - no public way
        yield Page(items, find_place_on_ring(model, items[-1]))


def walk_products() -> Iterator[Page[Product]]:
    """Yield every product, in whatever state.

    Consistency: the read level. Idempotent. Partitions: all of the table.
    """
    return _walk_table(Product)


def walk_users() -> Iterator[Page[User]]:
    """Yield every user, in whatever state.

    Consistency: the read level. Idempotent. Partitions: all of the table.
    """
    return _walk_table(User)


def walk_claims() -> Iterator[Page[Claim]]:
    """Yield every claim.

    Consistency: the read level. Idempotent. Partitions: all of the table.
    """
    return _walk_table(Claim)


def walk_listing(table: ListingTable) -> Iterator[Page[Listed]]:
    """Yield every row of a listing, bucket by bucket, whether the directory has the bucket or not.

    Consistency: the read level. Idempotent. Partitions: all of the table.
    """
    for page in _walk_columns(table.rows, Listed):
        # A named tuple takes what the driver gives, which has a type of its own for a day.
        yield Page([listed._replace(day=cast("Any", listed.day).date()) for listed in page.items], page.reached)


def walk_buckets(table: ListingTable) -> Iterator[Page[Bucketed]]:
    """Yield the scope and bucket of every partition of a listing that has rows.

    Consistency: the read level. Idempotent. Partitions: all of the table, the keys only.
    """
    for page in _walk_keys(table.rows, ROWS_A_PAGE):
        yield Page([(row.scope, (row.day.date(), row.shard)) for row in page.items], page.reached)


def walk_orders() -> Iterator[Page[Order]]:
    """Yield every order with all its lines, of each the columns of a `Line` only.

    Consistency: the read level. Idempotent. Partitions: all of the table.
    """
    cut: list[Line] = []
    for page in _walk_columns(OrderRow, Line):
        found = [tuple(lines) for _, lines in groupby([*cut, *page.items], key=attrgetter("order_id"))]
        cut = list(found.pop())  # its other lines may stand on the next page
        yield Page([_order_of(lines) for lines in found], page.reached)
    if cut:
        yield Page([_order_of(tuple(cut))], 1.0)


def find_orders(order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """Return those of these orders that exist, with all lines, of each the columns of a `Line` only.

    Consistency: the read level. Idempotent. Partitions: each (order_id), `READ_TOGETHER` a statement.
    """
    found: dict[UUID, Order] = {}
    for ids in rows.split(order_ids, READ_TOGETHER):
        wanted = OrderRow.objects(order_id__in=ids).values_list(*Line._fields)
        lines = (Line(*values) for page in _walk(wanted, ROWS_A_PAGE) for values in page)
        found.update({key: _order_of(tuple(part)) for key, part in groupby(lines, key=attrgetter("order_id"))})
    return found


def _order_of(lines: tuple[Line, ...]) -> Order:
    return Order(cast("tuple[OrderRow, ...]", lines))


def walk_stocked() -> Iterator[Page[UUID]]:
    """Yield every product that has a stock partition.

    Consistency: the read level. Idempotent. Partitions: all of the table, the keys only.
    """
    for page in _walk_keys(Stock, STOCKS_A_PAGE):
        yield Page([row.product_id for row in page.items], page.reached)


def walk_partition(product_id: UUID) -> Iterator[list[StockEntry]]:
    """Yield the head of a stock, then its operations; each page shows one version of the partition.

    If so many operations have left that their deletions would be too many for one read, it is walked slice by slice.
    Consistency: SERIAL. Idempotent. Partition: (product_id).
    """
    rows_of = partial(StockRow.objects, product_id=product_id)
    drained = patiently(rows_of(kind=HEAD).values_list("drained", flat=True).first) or 0
    slices = _slice_operations(rows_of, drained // LEFT_A_SLICE)
    for part in [rows_of(kind=HEAD), *slices] if slices else [rows_of(kind__lte=OPERATION)]:
        entries = part.values_list(*StockEntry._fields).consistency(conditional.SERIAL)
        for page in _walk(entries, OPERATIONS_A_PAGE):
            yield [StockEntry(*values) for values in page]


def _slice_operations(rows_of: Callable[..., ModelQuerySet], cuts: int) -> list[ModelQuerySet]:
    """Cut the operations of a stock so many times, evenly: their ids are hashes."""
    if not cuts:
        return []
    bounds = [UUID(int=(number << 128) // (cuts + 1), version=5) for number in range(1, cuts + 1)]
    operations = partial(rows_of, kind=OPERATION, sequence=0)
    return [
        operations(operation_id__lt=bounds[0]),
        *(operations(operation_id__gte=low, operation_id__lt=high) for low, high in pairwise(bounds)),
        operations(operation_id__gte=bounds[-1]),
    ]


def walk_recent(product_id: UUID, *, until: int) -> Iterator[Moved]:
    """Yield the movements of versions up to `until` that stand in the stock partition, newest first.

    Consistency: SERIAL. Idempotent. Partition: (product_id).
    """
    recent = StockMovement.objects(product_id=product_id, kind=MOVEMENT, sequence__lte=until)
    for page in _walk(recent.values_list(*MOVED).consistency(conditional.SERIAL), MOVEMENTS_A_PAGE):
        yield from (Moved(False, *values) for values in page)  # noqa: FBT003 - a tuple's first value


def walk_ledger(product_id: UUID, *, until: int) -> Iterator[Moved]:
    """Yield the movements of versions up to `until` that stand in the ledger, newest first.

    Consistency: the read level, for nothing changes there. Idempotent. Partitions: (product_id, span) from newer to
    older.
    """
    for span in range(until // LEDGER_SPAN, -1, -1):
        older = LedgerMovement.objects(product_id=product_id, span=span, sequence__lte=until)
        for page in _walk(older.values_list(*MOVED), MOVEMENTS_A_PAGE):
            yield from (Moved(True, *values) for values in page)  # noqa: FBT003 - a tuple's first value


def find_reservations(product_id: UUID, operation_ids: Iterable[UUID]) -> dict[UUID, Reserved]:
    """Return those of these reservations that have a row, by operation; a conditional write may be under way.

    Consistency: the read level. Idempotent. Partition: (product_id), `READ_TOGETHER` rows a statement.
    """
    found: dict[UUID, Reserved] = {}
    for ids in rows.split(operation_ids, READ_TOGETHER):
        there = StockOperation.objects(product_id=product_id, kind=OPERATION, sequence=0, operation_id__in=ids)
        found.update({row[0]: Reserved(*row) for row in there.values_list(*Reserved._fields)})
    return found


def find_claims(kind: str, values: Iterable[str]) -> dict[str, Claim]:
    """Return the claims of those of these values that are claimed; a conditional write may be under way.

    Consistency: the read level. Idempotent. Partitions: each (kind, value), `READ_TOGETHER` a statement.
    """
    found: dict[str, Claim] = {}
    for some in rows.split(values, READ_TOGETHER):
        found.update({claim.value: claim for claim in Claim.objects(kind=kind, value__in=some)})
    return found


def find_unlisted(places: Iterable[Place]) -> list[Place]:
    """Return those of these places at which no row stands.

    Consistency: the read level. Idempotent. Partitions: each (scope, day, shard), `READ_TOGETHER` rows a statement.
    """
    by_bucket: dict[tuple[ListingTable, str, listings.Bucket], list[Place]] = {}
    for place in places:
        by_bucket.setdefault((place.table, place.scope, place.bucket), []).append(place)
    missing: list[Place] = []
    for (table, scope, (day, shard)), wanted in by_bucket.items():
        there: set[str] = set()
        for positions in rows.split((place.position for place in wanted), READ_TOGETHER):
            listed = table.rows.objects(scope=scope, day=day, shard=shard, position__in=positions)
            there.update(listed.values_list("position", flat=True))
        missing += [place for place in wanted if place.position not in there]
    return missing


def is_announced(table: ListingTable, scope: str, bucket: listings.Bucket) -> bool:
    """Tell whether the directory has a bucket: no reader looks into any other.

    Consistency: the read level. Idempotent. Partition: the directory's (scope).
    """
    day, shard = bucket
    return table.directory.objects(scope=scope, day=day, shard=shard).first() is not None


def announce(table: ListingTable, scope: str, bucket: listings.Bucket) -> None:
    """Write a bucket into the directory, whatever this process remembers of it.

    Consistency: the write level. Idempotent. Partition: the directory's (scope).
    """
    day, shard = bucket
    table.directory.create(scope=scope, day=day, shard=shard)


def take_off(table: ListingTable, listed: Listed, *, written_before: datetime) -> None:
    """Delete a listing row as it stands, unless it was written anew since then (naive UTC).

    Consistency: the write level. Idempotent. Partition: (scope, day, shard).
    """
    row = table.rows.objects(scope=listed.scope, day=listed.day, shard=listed.shard, position=listed.position)
    row.timestamp(_microseconds(written_before)).delete()


def find_listing_time(table: ListingTable, listed: Listed) -> datetime | None:
    """Return when a listing row was written (naive UTC, by the writer's clock), or None if it is gone.

    Consistency: the read level. Idempotent. Partition: (scope, day, shard).
    """
    keys = {"scope": listed.scope, "day": listed.day, "shard": listed.shard, "position": listed.position}
    return _find_write_time(table.rows, "key", keys)


def find_claim_time(claim: Claim) -> datetime | None:
    """Return when a claim was taken (naive UTC), or None if there is none.

    Consistency: the read level. Idempotent. Partition: (kind, value).
    """
    return _find_write_time(Claim, "claim_id", {"kind": claim.kind, "value": claim.value})


def find_product_time(product_id: UUID) -> datetime | None:
    """Return when a product's row was last changed in any way (naive UTC), or None if there is none.

    Consistency: the read level. Idempotent. Partition: (product_id).
    """
    return _find_write_time(Product, "version", {"product_id": product_id})


def find_user_time(user_id: UUID) -> datetime | None:
    """Return when a user's row was last changed in any way (naive UTC), or None if there is none.

    Consistency: the read level. Idempotent. Partition: (user_id).
    """
    return _find_write_time(User, "version", {"user_id": user_id})


def _find_write_time(model: type[StoreModel], column: str, keys: dict[str, Any]) -> datetime | None:
    where = " AND ".join(f'"{name}" = %({name})s' for name in keys)
    # cqlengine knows no WRITETIME; every name here is a Model's own.
    query = f'SELECT WRITETIME("{column}") AS written_at FROM {model.column_family_name()} WHERE {where}'  # noqa: S608
    found = connection.execute(query, keys).one()
    if found is None:
        return None
    if found["written_at"] is None:  # a row without this value: no writer of the store is at work on it
        return NEVER
    return datetime.fromtimestamp(found["written_at"] / 1_000_000, UTC).replace(tzinfo=None)


def _microseconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1_000_000)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    nil, now = UUID(int=0), datetime.now(UTC).replace(tzinfo=None)
    for walk in (walk_products(), walk_users(), walk_claims(), walk_orders(), walk_stocked(), walk_partition(nil)):
        list(walk)
    for part in _slice_operations(partial(StockRow.objects, product_id=nil), 2):
        list(part.values_list(*StockEntry._fields).consistency(conditional.SERIAL))
    list(StockRow.objects(product_id=nil, kind=HEAD).values_list(*StockEntry._fields).consistency(conditional.SERIAL))
    list(walk_recent(nil, until=1))
    list(walk_ledger(nil, until=1))
    find_orders([nil])
    find_reservations(nil, [nil])
    find_claims("", [""])
    find_claim_time(Claim(kind="", value=""))
    find_product_time(nil)
    find_user_time(nil)
    for table in listings.TABLES:
        _rehearse_listing(table, Place(table, "", nil, now))


def _rehearse_listing(table: ListingTable, place: Place) -> None:
    listed = Listed(place.scope, *place.bucket, place.position, place.key)
    list(walk_listing(table))
    list(walk_buckets(table))
    find_unlisted([place])
    is_announced(table, place.scope, place.bucket)
    announce(table, place.scope, place.bucket)
    take_off(table, listed, written_before=place.created_at)
    find_listing_time(table, listed)
