"""The rules of the trade, pure: what fits a stock, what an order adds up to, which status may follow which.

No I/O, no clock, no Model: values in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from store_manager.models.base import MAX_QUANTITY
from store_manager.models.orders import CANCELLED, CONFIRMED, FULFILLED, PAID, PENDING, REJECTED
from store_manager.models.stocks import DONE, HELD, RELEASED, VOID
from store_manager.models.stocks import FULFILLED as TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

FOLLOWS: Mapping[str, frozenset[str]] = {
    PENDING: frozenset({CONFIRMED, REJECTED}),
    CONFIRMED: frozenset({PAID, CANCELLED}),
    PAID: frozenset({FULFILLED, CANCELLED}),
    FULFILLED: frozenset(),
    REJECTED: frozenset(),
    CANCELLED: frozenset(),
}
"""Which status of an order may follow which."""

FINAL = frozenset(status for status, following in FOLLOWS.items() if not following)
"""The statuses that nothing follows."""

SOLD = frozenset({CONFIRMED, PAID, FULFILLED})
"""The statuses of orders that count as sales."""


class Verb(StrEnum):
    """What an operation does to a stock."""

    RESERVE = "RESERVED"
    RELEASE = "RELEASED"
    FULFIL = "FULFILLED"
    COUNT = "COUNTED"
    ADJUST = "ADJUSTED"


@dataclass(frozen=True)
class Operation:
    """One change that a caller asks of a product's stock.

    `quantity` is how many units to reserve, the new count, or the signed adjustment. `expected_version` is the version
    of the stock that the caller has seen, where that matters; `digest` that of a request under an idempotency key.
    """

    verb: Verb
    operation_id: UUID
    quantity: int = 0
    order_id: UUID | None = None
    reason: str | None = None
    note: str | None = None
    expected_version: int | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        """Refuse to reserve nothing or less: it would give units away that others hold."""
        if self.verb is Verb.RESERVE and self.quantity < 1:
            raise ValueError(f"a reservation of {self.quantity} units")

    @property
    def is_remembered(self) -> bool:
        """Tell whether a row says that it was done: every reservation, and a count or adjustment under a key."""
        return self.digest is not None or self.verb in (Verb.RESERVE, Verb.RELEASE, Verb.FULFIL)


@dataclass(frozen=True)
class Balance:
    """The head of a stock as numbers; a stock that was never counted has version 0."""

    on_hand: int = 0
    reserved: int = 0
    version: int = 0

    @property
    def available(self) -> int:
        """Units that can still be sold."""
        return self.on_hand - self.reserved


@dataclass(frozen=True)
class Reservation:
    """A reservation as it stands: how many units, and in which state."""

    held: int
    state: str


class Refusal(StrEnum):
    """Why an operation changes nothing."""

    SHORT = "SHORT"
    VOIDED = "VOIDED"
    NOT_HELD = "NOT_HELD"
    BELOW_RESERVED = "BELOW_RESERVED"
    BELOW_ZERO = "BELOW_ZERO"
    TOO_MUCH = "TOO_MUCH"
    STALE = "STALE"


@dataclass(frozen=True)
class Verdict:
    """What becomes of one operation.

    `refusal` says why it was refused; otherwise it is done. `changes` tells that it makes a new version, `after` is
    the balance then (or the unchanged one), `state` the reservation's new state, `was` the one it must have now.
    """

    operation: Operation
    after: Balance
    refusal: Refusal | None = None
    changes: bool = False
    delta: int = 0
    reserved_delta: int = 0
    held: int = 0
    state: str | None = None
    was: str | None = None


def fold(balance: Balance, operations: Iterable[Operation], reservations: Mapping[UUID, Reservation]) -> list[Verdict]:
    """Apply operations to a balance one after another: each is done with a version of its own, or refused.

    What does not fit is refused alone; the others go on. An operation that is already done is done again without a
    change.
    """
    known = dict(reservations)
    verdicts = []
    for operation in operations:
        reservation = known.get(operation.operation_id)
        if reservation is not None and reservation.state == DONE:
            verdict = Verdict(operation, balance)
        else:
            verdict = judge(balance, operation, reservation)
        if verdict.state is not None:
            known[operation.operation_id] = Reservation(verdict.held, verdict.state)
        balance = verdict.after
        verdicts.append(verdict)
    return verdicts


def judge(balance: Balance, operation: Operation, reservation: Reservation | None) -> Verdict:
    """Decide one operation on a balance and its reservation, if there is one."""
    if operation.expected_version is not None and operation.expected_version != balance.version:
        return Verdict(operation, balance, Refusal.STALE)
    match operation.verb:
        case Verb.RESERVE:
            return _reserve(balance, operation, reservation)
        case Verb.RELEASE:
            return _release(balance, operation, reservation)
        case Verb.FULFIL:
            return _fulfil(balance, operation, reservation)
        case Verb.COUNT:
            return _count(balance, operation)
        case Verb.ADJUST:
            return _move(balance, operation, operation.quantity, below=Refusal.BELOW_ZERO)


def _reserve(balance: Balance, operation: Operation, reservation: Reservation | None) -> Verdict:
    if reservation is not None:
        ended = reservation.state in (RELEASED, VOID)
        return Verdict(operation, balance, Refusal.VOIDED if ended else None)
    if balance.available < operation.quantity:
        return Verdict(operation, balance, Refusal.SHORT)
    return _change(balance, operation, reserved_delta=operation.quantity, state=HELD, held=operation.quantity)


def _release(balance: Balance, operation: Operation, reservation: Reservation | None) -> Verdict:
    if reservation is None and balance.version == 0:
        return Verdict(operation, balance)  # nothing can be reserved before the first count
    if reservation is None:
        return _change(balance, operation, state=VOID)  # stands in the way of a reservation that is still on its way
    if reservation.state == HELD:
        return _change(balance, operation, reserved_delta=-reservation.held, state=RELEASED, reservation=reservation)
    return Verdict(operation, balance, Refusal.NOT_HELD if reservation.state == TAKEN else None)


def _fulfil(balance: Balance, operation: Operation, reservation: Reservation | None) -> Verdict:
    if reservation is None or reservation.state in (RELEASED, VOID):
        return Verdict(operation, balance, Refusal.NOT_HELD)
    if reservation.state == TAKEN:
        return Verdict(operation, balance)
    held = reservation.held
    return _change(balance, operation, delta=-held, reserved_delta=-held, state=TAKEN, reservation=reservation)


def _count(balance: Balance, operation: Operation) -> Verdict:
    return _move(balance, operation, operation.quantity - balance.on_hand, below=Refusal.BELOW_RESERVED)


def _move(balance: Balance, operation: Operation, delta: int, *, below: Refusal) -> Verdict:
    if balance.on_hand + delta < balance.reserved:
        return Verdict(operation, balance, below)
    if balance.on_hand + delta > MAX_QUANTITY:
        return Verdict(operation, balance, Refusal.TOO_MUCH)
    return _change(balance, operation, delta=delta, state=DONE if operation.is_remembered else None)


def _change(
    balance: Balance,
    operation: Operation,
    *,
    delta: int = 0,
    reserved_delta: int = 0,
    state: str | None = None,
    held: int = 0,
    reservation: Reservation | None = None,
) -> Verdict:
    after = replace(
        balance,
        on_hand=balance.on_hand + delta,
        reserved=balance.reserved + reserved_delta,
        version=balance.version + 1,
    )
    return Verdict(
        operation,
        after,
        changes=True,
        delta=delta,
        reserved_delta=reserved_delta,
        held=reservation.held if reservation else held,
        state=state,
        was=reservation.state if reservation else None,
    )


def sum_by_product(items: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """Return how many units of each product are asked for in all, in the order of first mention."""
    demand: dict[UUID, int] = {}
    for product_id, quantity in items:
        demand[product_id] = demand.get(product_id, 0) + quantity
    return demand


def line_total(unit_price: Decimal, quantity: int) -> Decimal:
    """Return what a line costs, to the cent."""
    return (unit_price * quantity).quantize(Decimal("0.01"))
