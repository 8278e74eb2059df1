"""The orders' rows. Which status follows which is decided by the services."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from cassandra.cqlengine.query import BatchQuery, BatchType

from store_manager.dao import conditional, rows
from store_manager.models.orders import Order, OrderRow

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_TOGETHER = 20
"""How many orders one statement reads: bounded, so that no coordinator gathers too much."""

STATIC = tuple(name for name, column in OrderRow._columns.items() if column.static)  # noqa: SLF001 - no public way
"""The names of the columns that concern all lines."""


def insert(order: Order) -> bool:
    """Write a new order whole, with all its lines, or nothing; return whether it is this one that stands.

    Consistency: LWT, one batch on the absence of the first line. Safe to send again. Partition: (order_id).
    """
    head, *others = order.lines

    def write() -> None:
        with BatchQuery(batch_type=BatchType.Unlogged) as batch:
            OrderRow.objects.batch(batch).if_not_exists().create(**dict(head))
            for line in others:
                own = {name: value for name, value in dict(line).items() if name not in STATIC}
                OrderRow.objects.batch(batch).create(**own)

    return conditional.apply(write, lambda: _wrote(head.order_id, head.change_id, 1))


def find(order_id: UUID, *, serial: bool = False) -> Order | None:
    """Return the order with its lines and history, or None.

    Consistency: the read level, or SERIAL when asked. Idempotent. Partition: (order_id).
    """
    lines = OrderRow.objects(order_id=order_id).limit(None)
    if serial:
        lines = lines.consistency(conditional.SERIAL)
    found = tuple(lines)
    return Order(found) if found else None


def find_many(order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """Return those of these orders that exist, by id.

    Consistency: the read level. Idempotent. Partitions: each (order_id), `READ_TOGETHER` a statement.
    """
    found: dict[UUID, Order] = {}
    for ids in rows.split(order_ids, READ_TOGETHER):
        lines = OrderRow.objects(order_id__in=ids).limit(None)
        found.update({key: Order(tuple(part)) for key, part in groupby(lines, key=lambda line: line.order_id)})
    return found


def change_status(
    order: Order,
    status: str,
    *,
    at: datetime,
    settled: bool,
    method: str | None = None,
    reference: str | None = None,
    short_lines: str | None = None,
    step_key: str = "",
) -> Order | None:
    """Move an order to a status if it still has the version that was read; return it as it is then, else None.

    `at` is naive UTC; `settled` is false while stock has yet to follow. A payment's method and reference stay once they
    are given; `short_lines` is what the caller of a rejected order is told, `step_key` the request for this status.
    Consistency: LWT on `version`. Safe to send again. Partition: (order_id).
    """
    head, change_id = order.head, uuid4()
    guarded = OrderRow.objects(order_id=head.order_id).iff(version=head.version)
    values: dict[str, Any] = {
        "status": status,
        "updated_at": at,
        "payment_method": method or head.payment_method,
        "payment_reference": reference or head.payment_reference,
        "short_lines": short_lines,
        "version": head.version + 1,
        "change_id": change_id,
        "settled": settled,
    }
    added: dict[str, dict[str, Any]] = {"reached": {status: at}, "step_keys": {status: step_key}}
    updates = values | {f"{name}__update": entry for name, entry in added.items()}
    if not conditional.apply(
        lambda: guarded.update(**updates), lambda: _wrote(head.order_id, change_id, head.version + 1)
    ):
        return None
    grown = {name: dict(getattr(head, name)) | entry for name, entry in added.items()}
    after = OrderRow(**dict(head) | values | grown)
    return Order((after, *order.lines[1:]))


def fence(order: Order) -> bool:
    """Move an order's version on and nothing else, so that a change still on its way to this version fails.

    Returns whether the order still had the version that was read. Consistency: LWT on `version`. Safe to send again.
    Partition: (order_id).
    """
    head, change_id = order.head, uuid4()
    guarded = OrderRow.objects(order_id=head.order_id).iff(version=head.version)
    return conditional.apply(
        lambda: guarded.update(version=head.version + 1, change_id=change_id),
        lambda: _wrote(head.order_id, change_id, head.version + 1),
    )


def settle(order: Order) -> bool:
    """Note that stock has followed the order's status; its version, which the caller sees, stays.

    Returns whether the order still had the version that was read. Consistency: LWT on `version`. Idempotent, for the
    value can only be set. Partition: (order_id).
    """
    head = order.head
    guarded = OrderRow.objects(order_id=head.order_id).iff(version=head.version)
    return conditional.apply(lambda: guarded.update(settled=True), lambda: _is_settled(head.order_id))


def _is_settled(order_id: UUID) -> bool:
    order = find(order_id, serial=True)
    return order is not None and bool(order.head.settled)


def _wrote(order_id: UUID, change_id: UUID, version: int) -> bool:
    order = find(order_id, serial=True)
    return order is not None and rows.is_of(order.head, change_id, version)


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    now = datetime(2000, 1, 1)  # noqa: DTZ001 - cqlengine's times are naive UTC
    nil = uuid4()
    line = {"order_id": nil, "product_id": nil, "quantity": 1, "unit_price": Decimal(0), "total": Decimal(0)}
    head = OrderRow(**line, line=0, version=1, status="", change_id=nil, created_at=now, reached={"": now})
    order = Order((head, OrderRow(**line, line=1)))
    insert(order)
    find(nil)
    find(nil, serial=True)
    list(OrderRow.objects(order_id__in=[nil]).limit(None))
    change_status(order, "", at=now, settled=False)
    settle(order)
    fence(order)
