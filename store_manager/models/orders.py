"""Orders: one partition an order, its lines as rows, what concerns all lines as static columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra.cqlengine import columns

from store_manager.models.base import TABLE_OPTIONS, StoreModel
from store_manager.models.listings import Listing, ListingDirectory
from store_manager.models.marks import hidden, shown

if TYPE_CHECKING:
    from datetime import datetime

PENDING, CONFIRMED, PAID, FULFILLED = "PENDING", "CONFIRMED", "PAID", "FULFILLED"
REJECTED, CANCELLED = "REJECTED", "CANCELLED"
VOID = "VOID"
"""Stands in the place of an order that must never come to be; nobody is shown it."""

INTENT_LIFE_S = 30 * 24 * 3600
"""How long recovery may be away before only an audit finds what a crash left, in seconds."""

INTENT_OPTIONS: dict[str, str | int] = {**TABLE_OPTIONS, "default_time_to_live": INTENT_LIFE_S}

STATUSES = (PENDING, CONFIRMED, PAID, FULFILLED, REJECTED, CANCELLED)
"""The statuses of orders; of any two that one order reaches, the later one stands later here."""


class OrderRow(StoreModel):
    """A line of an order, and in static columns the order itself. Serves: read by id. At most 100 rows a partition.

    Written whole by one conditional batch; afterwards only static columns change, by LWT on `version`. No row is ever
    deleted, so the static columns stay cheap to read. `settled` is false while stock has yet to follow the status.
    """

    __table_name__ = "orders"

    order_id = shown(columns.UUID(partition_key=True), "The order's id")
    line = hidden(columns.SmallInt(primary_key=True))

    user_id = shown(columns.UUID(static=True), "Who buys")
    status = shown(columns.Text(static=True), "Where the order stands", example=CONFIRMED)
    order_total = shown(columns.Decimal(static=True), "Sum of the lines", name="total", example="59.98")
    currency = shown(columns.Text(static=True), "ISO 4217 code", example="CAD")
    created_at = shown(columns.DateTime(static=True), "When it was placed, UTC")
    updated_at = shown(columns.DateTime(static=True), "When its status last changed, UTC")
    payment_method = shown(columns.Text(static=True), "How it was paid", example="CARD")
    payment_reference = shown(columns.Text(static=True), "The payment's reference elsewhere")
    reached = hidden(columns.Map(columns.Text(), columns.DateTime(), static=True))
    version = hidden(columns.BigInt(static=True))
    change_id = hidden(columns.UUID(static=True))
    """The write that made this version: proves whose it was when an answer was lost."""
    settled = hidden(columns.Boolean(static=True))
    request_digest = hidden(columns.Text(static=True))
    short_lines = hidden(columns.Text(static=True))
    """Of a rejected order, which lines were short, as JSON: what its caller was told, to be told again."""
    step_keys = hidden(columns.Map(columns.Text(), columns.Text(), static=True))
    """By status, the key and digest of the request that brought the order there."""

    product_id = shown(columns.UUID(), "What is bought")
    sku = shown(columns.Text(), "Its SKU when it was ordered", example="MOUSE-7")
    name = shown(columns.Text(), "Its name when it was ordered", example="Gamer mouse")
    quantity = shown(columns.BigInt(), "How many units", example=2)
    unit_price = shown(columns.Decimal(), "Price of one unit when it was ordered", example="29.99")
    total = shown(columns.Decimal(), "quantity times unit_price", example="59.98")


@dataclass(frozen=True)
class StatusChange:
    """A status that an order reached, and when."""

    status: str
    at: datetime


@dataclass(frozen=True)
class Order:
    """An order as it is read: its rows, in the order of the lines; `head` is the row whose static columns are read."""

    lines: tuple[OrderRow, ...]

    @property
    def head(self) -> Any:
        """The row from which the order's own (static) columns are read."""
        return self.lines[0]

    @property
    def history(self) -> list[StatusChange]:
        """The statuses reached so far, in the order in which they follow: the clocks of two servers may differ."""
        reached: dict[str, datetime] = self.head.reached
        return [StatusChange(status, reached[status]) for status in sorted(reached, key=STATUSES.index)]


class OrderListing(Listing):
    """All orders that were reserved, newest first. Serves: `GET /orders` and `?day=`, the reports.

    Scope `all`; at most a shard's part of a day's orders.
    """

    __table_name__ = "order_listing"


class OrderListingDirectory(ListingDirectory):
    """Which buckets `order_listing` has. Serves: pages of it. Scope `all`; at most 8 rows a day with orders."""

    __table_name__ = "order_listing_directory"


class UserOrderListing(Listing):
    """The orders of one user, newest first. Serves: `GET /orders?user_id=`. Scope: the user; one's orders of a day."""

    __table_name__ = "user_order_listing"


class UserOrderListingDirectory(ListingDirectory):
    """Which buckets `user_order_listing` has. Serves: pages of it. Scope: the user; one row a day with orders."""

    __table_name__ = "user_order_listing_directory"


class OrderIntent(Listing):
    """Orders on which work was begun, by when. Serves: recovery, oldest first, from a mark on; expires by itself.

    Scope: being placed, or being ended; at most a shard's part of a day's orders.
    """

    __table_name__ = "order_intents"
    __options__ = INTENT_OPTIONS


class OrderIntentDirectory(ListingDirectory):
    """Which buckets `order_intents` has. Serves: recovery's walk. Scope: the intents'; 4 rows a day, for 30 days."""

    __table_name__ = "order_intent_directory"
    __options__ = INTENT_OPTIONS


class RecoveryMark(StoreModel):
    """Up to where a recovery has finished every intent. Serves: going on from there. Plain, idempotent writes.

    One row a partition. A mark that is behind costs time only, for recovery may do everything twice.
    """

    __table_name__ = "recovery_marks"

    purpose = columns.Text(partition_key=True)
    shard = columns.TinyInt(partition_key=True)
    position = columns.Text()
