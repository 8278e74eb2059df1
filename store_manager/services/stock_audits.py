"""Audit of the stocks: a balance against its movements and what is held, and what is held against the orders.

A version never changes once it is made, so the sums are taken up to the version at which the head was read, and it does
not matter how fast the product sells meanwhile. The orders' view of their reservations stands in `order_audits`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from store_manager.dao import orders as order_rows
from store_manager.dao import scans
from store_manager.dao import stocks as stock_rows
from store_manager.models.orders import CANCELLED, REJECTED, VOID
from store_manager.models.stocks import HEAD, HELD
from store_manager.services import orders, reservations
from store_manager.services.findings import Code, Finding, Severity, Walk, look_repeatedly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from store_manager.dao.scans import Moved, Page, StockEntry
    from store_manager.models.orders import Order

MOST_NAMED = 5
"""How many of a stock's missing versions are named."""


class StockWalk(Walk[UUID, UUID]):
    """Every product that was ever counted, one stock after the other."""

    name = "stocks"

    def pages(self) -> Iterator[Page[UUID]]:
        """Yield the products that have a stock."""
        return scans.walk_stocked()

    def sift(self, items: list[UUID]) -> Iterable[UUID]:
        """Return all: nothing is known of a stock before its partition is read."""
        return items

    def look(self, key: UUID) -> list[Finding]:
        """Return what is wrong with a product's balance, movements and operations."""
        return look_repeatedly(partial(self._look_once, key))

    def _look_once(self, product_id: UUID) -> list[Finding]:
        reading = _Reading(product_id)
        found: list[Finding] = []
        for held in reading.read():
            found += self._look_at_held(product_id, held)
        if reading.head is None:
            return [*found, _finding(Code.STOCK_HEADLESS, product_id, "has rows, but no whole head")]
        return [*found, *_check_head(reading, reading.head), *_check_movements(product_id, reading.head)]

    def _look_at_held(self, product_id: UUID, held: list[StockEntry]) -> Iterator[Finding]:
        """Yield the reservations that no order stands behind."""
        found = scans.find_orders(one.order_id for one in held if one.order_id is not None)
        for one in held:
            if _is_dead(None if one.order_id is None else found.get(one.order_id), product_id):
                yield from self._look_at_dead(product_id, one)

    def _look_at_dead(self, product_id: UUID, held: StockEntry) -> Iterator[Finding]:
        """Yield a reservation if its order, read at SERIAL, does not stand behind it and it is held even then."""
        order_id = held.order_id
        order = None if order_id is None else order_rows.find(order_id, serial=True)
        operation = stock_rows.find_operations(product_id, [held.operation_id]).get(held.operation_id)
        if _is_dead(order, product_id) and operation is not None and operation.operation_state == HELD:
            mend = None
            if order_id is not None and reservations.operation_id_of(order_id, product_id) == held.operation_id:
                mend = partial(self._release, order_id, product_id)
            yield Finding(
                Code.RESERVATION_DEAD,
                f"{held.held} units are held for order {order_id}, which {_why_dead(order)}",
                f"stocks {product_id}, operation {held.operation_id}",
                mend=mend,
            )

    def _release(self, order_id: UUID, product_id: UUID) -> None:
        """Release a dead reservation, after an order that was never written was made impossible."""
        orders.recover(order_id, pending_before=self.patience.begin())
        reservations.release(order_id, [product_id])


def _is_dead(order: Order | None, product_id: UUID) -> bool:
    """Tell whether a held reservation has no order that holds it, or is about to let it go."""
    if order is None or order.head.status == VOID:
        return True
    if all(line.product_id != product_id for line in order.lines):
        return True
    return order.head.status in (CANCELLED, REJECTED) and bool(order.head.settled)


def _why_dead(order: Order | None) -> str:
    if order is None or order.head.status == VOID:
        return "does not exist"
    return f"is {order.head.status}" if order.head.status in (CANCELLED, REJECTED) else "does not name the product"


@dataclass(frozen=True)
class _Head:
    """A balance as it was read, whole."""

    on_hand: int
    reserved: int
    version: int
    drained: int


@dataclass
class _Reading:
    """A stock's head and the sum of what is held; `at_once` if both are of one version for sure."""

    product_id: UUID
    head: _Head | None = None
    held: int = 0
    at_once: bool = True

    def read(self) -> Iterator[list[StockEntry]]:
        """Read the partition, and yield what is held, a page at a time."""
        for number, page in enumerate(scans.walk_partition(self.product_id)):
            self.head = self.head or _find_head(page[0])
            held = [one for one in page if one.operation_state == HELD]
            self.held += sum(one.held or 0 for one in held)
            yield held
            if number:  # each page is of one version, but not all of the same, unless the head has not moved
                self.at_once = self._is_still()

    def _is_still(self) -> bool:
        head = stock_rows.find(self.product_id, serial=True)
        return head is not None and self.head is not None and bool(head.version == self.head.version)


def _find_head(first: StockEntry) -> _Head | None:
    """Return the head if a partition's first row is one and lacks nothing."""
    values = (first.on_hand, first.reserved, first.version, first.drained)
    whole = [value for value in values if value is not None]
    return _Head(*whole) if first.kind == HEAD and len(whole) == len(values) else None


def _check_head(reading: _Reading, head: _Head) -> Iterator[Finding]:
    if not 0 <= head.reserved <= head.on_hand:
        text = f"has {head.on_hand} on hand and {head.reserved} reserved"
        yield _finding(Code.STOCK_OUT_OF_BOUNDS, reading.product_id, text)
    if not reading.at_once:
        text = "changes faster than it can be read: what is held could not be added up"
        yield _finding(Code.STOCK_BUSY, reading.product_id, text, Severity.IN_FLIGHT)
    elif reading.held != head.reserved:
        text = f"has {head.reserved} reserved, but its operations hold {reading.held}"
        yield _finding(Code.RESERVED_WRONG, reading.product_id, text)


def _check_movements(product_id: UUID, head: _Head) -> Iterator[Finding]:
    """Yield what is wrong with the movements up to the version of the head."""
    sums = _Sums(head.version)
    recent = scans.walk_recent(product_id, until=head.version)
    older = scans.walk_ledger(product_id, until=head.version) if head.drained else iter(())
    for moved in heapq.merge(recent, older, key=lambda one: -one.version):
        sums.add(moved, head.drained)
    sums.end()
    if sums.returned:
        text = f"has movements again that had left for the ledger: versions {_name(sums.returned)}"
        yield _finding(Code.MOVEMENT_RETURNED, product_id, text)
    if sums.doubles:
        text = f"has several movements for the same version: {_name(sums.doubles)}"
        yield _finding(Code.MOVEMENT_DOUBLE, product_id, text)
    if sums.missing:
        text = f"has no movement for {_name(sums.missing)} of its {head.version} versions"
        yield _finding(Code.MOVEMENT_MISSING, product_id, text)
    elif (sums.on_hand, sums.reserved) != (head.on_hand, head.reserved) and not sums.doubles:
        text = (
            f"has {head.on_hand} on hand and {head.reserved} reserved, but its movements add up to "
            f"{sums.on_hand} and {sums.reserved}"
        )
        yield _finding(Code.BALANCE_WRONG, product_id, text)


class _Sums:
    """Adds up movements that come newest first, and notes which versions have none or several."""

    def __init__(self, version: int) -> None:
        self.on_hand = self.reserved = 0
        self.missing: list[str] = []
        self.doubles: list[str] = []
        self.returned: list[str] = []
        self._expected = version
        self._last: Moved | None = None

    def add(self, moved: Moved, drained: int) -> None:
        if not moved.drained and moved.version <= drained:
            self.returned.append(str(moved.version))
        if self._last is not None and moved.version == self._last.version:
            if moved.operation_id != self._last.operation_id:
                self.doubles.append(str(moved.version))
            return  # otherwise it is the copy of one that is about to leave for the ledger
        self._skip_to(moved.version)
        self.on_hand += moved.delta or 0
        self.reserved += moved.reserved_delta or 0
        self._last = moved

    def end(self) -> None:
        self._skip_to(0)

    def _skip_to(self, version: int) -> None:
        first, last = version + 1, self._expected
        if first <= last:
            self.missing.append(str(last) if first == last else f"{first} to {last}")
        self._expected = version - 1


def _name(some: list[str]) -> str:
    named = ", ".join(some[:MOST_NAMED])
    return f"{named} and {len(some) - MOST_NAMED} more" if len(some) > MOST_NAMED else named


def _finding(code: Code, product_id: UUID, text: str, severity: Severity = Severity.WRONG) -> Finding:
    return Finding(code, f"The stock {text}", f"stocks {product_id}", severity)
