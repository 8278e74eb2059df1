"""Audit of the orders: each against its lines, what it holds of its products, and the listings that must name it.

What is held for no order at all is found by the stocks' walk (`stock_audits`).
"""

from __future__ import annotations

import threading
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from store_manager.dao import listings, scans
from store_manager.dao import orders as order_rows
from store_manager.dao import stocks as stock_rows
from store_manager.models.orders import CANCELLED, CONFIRMED, FULFILLED, PAID, STATUSES, VOID, Order
from store_manager.models.stocks import FULFILLED as TAKEN
from store_manager.models.stocks import HELD
from store_manager.services import orders, reservations, rules
from store_manager.services.findings import Code, Finding, Patience, Walk, look_steadily
from store_manager.services.listing_audits import judge_unlisted, place_order, place_order_of_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from store_manager.dao.scans import Page, Place, Reserved
    from store_manager.models.stocks import StockOperation

LISTED = frozenset({CONFIRMED, PAID, FULFILLED, CANCELLED})
"""The statuses of orders that were confirmed, and so must be listed."""

MOST_UNPROVEN = 100_000
"""How many fulfilments wait, in memory, until the ledger is walked for their movements."""

Operation: TypeAlias = "StockOperation | Reserved"

Unproven: TypeAlias = dict[UUID, dict[UUID, tuple[UUID, int]]]
"""By product and operation: which order says that it was fulfilled, and how many units."""


class OrderWalk(Walk[Order, UUID]):
    """Every order; a fulfilment whose operation has left the stock is looked up in the ledger, many at once."""

    name = "orders"

    def __init__(self, patience: Patience) -> None:
        super().__init__(patience)
        self._lock = threading.Lock()
        self._unproven: Unproven = {}
        self._waiting = 0

    def pages(self) -> Iterator[Page[Order]]:
        """Yield the orders."""
        return scans.walk_orders()

    def sift(self, items: list[Order]) -> Iterable[UUID]:
        """Return the orders that don't look settled and right."""
        real = [order for order in items if order.head.status != VOID]
        whole = [order for order in real if order.head.settled and not any(_find_gaps(order))]
        sound = {order.head.order_id for order in whole if not any(_find_flaws(order))}
        yield from (order.head.order_id for order in real if order.head.order_id not in sound)
        yield from self._sift_reservations([order for order in whole if order.head.status in rules.SOLD])
        listed = [order for order in whole if order.head.status in LISTED]
        yield from (place.key for place in scans.find_unlisted(_places_of(listed)))

    def _sift_reservations(self, sold: list[Order]) -> Iterator[UUID]:
        by_product: dict[UUID, list[tuple[Order, int]]] = {}
        for order in sold:
            for product_id, quantity in _demand_of(order).items():
                by_product.setdefault(product_id, []).append((order, quantity))
        for product_id, demands in by_product.items():
            there = scans.find_reservations(product_id, [_operation_id_of(order, product_id) for order, _ in demands])
            for order, quantity in demands:
                if self._find_fault(order, product_id, quantity, there.get(_operation_id_of(order, product_id))):
                    yield order.head.order_id

    def _find_fault(self, order: Order, product_id: UUID, quantity: int, operation: Operation | None) -> Code | None:
        """Return what is wrong with what a settled order holds, or has taken, of a product."""
        state, held = (None, 0) if operation is None else (operation.operation_state, operation.held)
        if order.head.status != FULFILLED:
            return None if (state, held) == (HELD, quantity) else Code.RESERVATION_WRONG
        if operation is None:  # it has left for the ledger, or it never was
            self._note_unproven(order, product_id, quantity)
            return None
        if state == HELD:
            return Code.RESERVATION_LEFT
        return None if (state, held) == (TAKEN, quantity) else Code.FULFILMENT_WRONG

    def look(self, key: UUID) -> list[Finding]:
        """Return what is wrong with an order, unless somebody changes it meanwhile."""
        return look_steadily(
            partial(order_rows.find, key, serial=True),
            lambda order: (order.head.version, order.head.settled),
            lambda order: list(self._judge(order)),
        )

    def _judge(self, order: Order) -> Iterator[Finding]:
        head = order.head
        gaps = list(_find_gaps(order))
        if head.status == VOID:
            return
        if gaps:
            yield _finding(Code.ROW_INCOMPLETE, order, "; ".join(gaps))
            return
        for flaw in _find_flaws(order):
            yield _finding(Code.ORDER_TOTAL_WRONG, order, flaw)
        if not head.settled:
            yield self._judge_left(order)
        elif head.status in rules.SOLD:
            yield from self._judge_reservations(order)
        if head.settled and head.status in LISTED:
            found = [judge_unlisted(place) for place in _places_of([order])]
            yield from (finding for finding in found if finding is not None)

    def _judge_left(self, order: Order) -> Finding:
        head = order.head
        return Finding(
            Code.ORDER_LEFT,
            f"The order is {head.status} since {listings.time_of(head.updated_at)}, and its stock has not followed",
            f"orders {head.order_id}",
            self.patience.judge(head.updated_at),
            mend=lambda: orders.recover(head.order_id, pending_before=self.patience.begin()),
        )

    def _judge_reservations(self, order: Order) -> Iterator[Finding]:
        for product_id, quantity in _demand_of(order).items():
            operation_id = _operation_id_of(order, product_id)
            operation = stock_rows.find_operations(product_id, [operation_id]).get(operation_id)
            fault = self._find_fault(order, product_id, quantity, operation)
            if fault is not None:
                mend = partial(reservations.fulfil, order.head.order_id, [product_id])
                yield Finding(
                    fault,
                    f"The order is {order.head.status} with {quantity} units, but {_describe(operation)}",
                    f"orders {order.head.order_id}, product {product_id}",
                    mend=mend if fault is Code.RESERVATION_LEFT else None,
                )

    def _note_unproven(self, order: Order, product_id: UUID, quantity: int) -> None:
        operation_id = _operation_id_of(order, product_id)
        with self._lock:
            self._unproven.setdefault(product_id, {})[operation_id] = (order.head.order_id, quantity)
            self._waiting += 1

    def examine(self, items: list[Order]) -> list[Finding]:
        """Return what is wrong on a page, and with fulfilments of earlier pages once many of them wait."""
        found = super().examine(items)
        return [*found, *self.conclude()] if self._waiting >= MOST_UNPROVEN else found

    def conclude(self) -> list[Finding]:
        """Return the fulfilments that wait and have no movement in the ledger."""
        with self._lock:
            unproven, self._unproven, self._waiting = self._unproven, {}, 0
        return [
            Finding(
                Code.FULFILMENT_WRONG,
                f"The order is FULFILLED with {quantity} units, but no movement took them from the stock",
                f"orders {order_id}, product {product_id}",
            )
            for product_id, wanted in unproven.items()
            for order_id, quantity in _find_not_taken(product_id, wanted)
        ]


def _find_not_taken(product_id: UUID, wanted: dict[UUID, tuple[UUID, int]]) -> list[tuple[UUID, int]]:
    """Walk the ledger of a product for fulfilments; return those that have no movement there."""
    stock = scans.patiently(partial(stock_rows.find, product_id, serial=True))
    for moved in scans.walk_ledger(product_id, until=stock.version if stock else 0):
        if moved.reason == TAKEN and moved.operation_id in wanted:
            _, quantity = wanted[moved.operation_id]
            if moved.delta == -quantity:
                del wanted[moved.operation_id]
        if not wanted:
            break
    return list(wanted.values())


def _find_gaps(order: Order) -> Iterator[str]:
    """Yield what an order lacks, so that nothing else can be said of it."""
    head = order.head
    lacking = [name for name in ("user_id", "order_total", "created_at", "updated_at") if getattr(head, name) is None]
    if lacking:
        yield f"it has no {', '.join(lacking)}"
    if head.status not in STATUSES:
        yield f"its status is {head.status}"
    if [line.line for line in order.lines] != list(range(len(order.lines))):
        yield f"of its lines there are only {', '.join(str(line.line) for line in order.lines)}"
    if any(None in (line.product_id, line.quantity, line.unit_price, line.total) for line in order.lines):
        yield "a line has no product, quantity or price"


def _find_flaws(order: Order) -> Iterator[str]:
    for line in order.lines:
        if line.total != rules.line_total(line.unit_price, line.quantity):
            yield f"line {line.line} costs {line.total}, which is not {line.quantity} x {line.unit_price}"
    total = sum((line.total for line in order.lines), Decimal(0))
    if total != order.head.order_total:
        yield f"it costs {order.head.order_total}, but its lines add up to {total}"


def _finding(code: Code, order: Order, text: str) -> Finding:
    return Finding(code, f"The order is not as it was placed: {text}", f"orders {order.head.order_id}")


def _demand_of(order: Order) -> dict[UUID, int]:
    return rules.sum_by_product((line.product_id, line.quantity) for line in order.lines)


def _operation_id_of(order: Order, product_id: UUID) -> UUID:
    return reservations.operation_id_of(order.head.order_id, product_id)


def _describe(operation: Operation | None) -> str:
    return "nothing is held" if operation is None else f"{operation.held} are {operation.operation_state}"


def _places_of(found: Iterable[Order]) -> list[Place]:
    places = [place_of(order) for order in found for place_of in (place_order, place_order_of_user)]
    return [place for place in places if place is not None]
