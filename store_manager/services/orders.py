"""Orders: place, pay, fulfil, cancel. An order of several products is a saga, for a conditional write covers one.

The status decides, by a conditional write on the order's version; stock follows it, each reservation exactly once, and
`settled` says that it has. Whatever was decided can be finished by anybody, at any time, as often as one likes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from store_manager.dao import conditional, listings, orders, products, users
from store_manager.errors import (
    Contended,
    FieldError,
    KeyInUse,
    KeySpent,
    OrderGivenUp,
    OrderNotFound,
    OrderStateConflict,
    ReferenceInvalid,
    RequestInvalid,
    StockShort,
    VersionStale,
)
from store_manager.models.base import MAX_QUANTITY
from store_manager.models.orders import (
    CANCELLED,
    CONFIRMED,
    FULFILLED,
    PAID,
    PENDING,
    REJECTED,
    VOID,
    Order,
    OrderRow,
)
from store_manager.models.users import ACTIVE
from store_manager.services import clocks, outcomes, reservations, rules
from store_manager.services.pages import Page, collect
from store_manager.services.products import check_version, is_on_sale
from store_manager.services.request_keys import RequestKey, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.models.products import Product


PLACING, ADVANCING = "placing", "advancing"
"""The scopes of intents: orders that are being placed, orders that are being fulfilled or cancelled."""


@dataclass(frozen=True)
class Item:
    """What a caller asks for: a product and how many units, which are 1 to `MAX_QUANTITY`."""

    product_id: UUID
    quantity: int

    def __post_init__(self) -> None:
        """Refuse another quantity, before anything is written."""
        if not 1 <= self.quantity <= MAX_QUANTITY:
            raise ValueError(f"an order of {self.quantity} units")


def place(user_id: UUID, items: list[Item], currency: str, key: RequestKey | None = None) -> Order:
    """Place an order: all of it is reserved, or nothing is.

    An intent, for recovery to find; PENDING with all its lines; every product reserved; listed; CONFIRMED, which is the
    point of commit. A crash before that leaves a PENDING order, which recovery rejects. Raises `ReferenceInvalid`,
    `StockShort` with each short product, `OutcomeUnknown` with the order's address, and under a key `KeyReused`,
    `KeyInUse` and `KeySpent`.
    """
    begun = orders.find(key.made_id, serial=True) if key else None
    if key and begun:
        return _go_on(begun, key)
    sold = _read_products(user_id, items)
    order = _write_down(user_id, items, sold, currency, key)
    head = order.head
    _note_intent(PLACING, head.order_id, head.created_at)
    with outcomes.located(f"/orders/{head.order_id}"):
        if not orders.insert(order):
            raise KeyInUse("The first call under this idempotency key is still at work.") if key else _given_up()
        return _reserve_and_confirm(order, alone=True)


def _go_on(begun: Order, key: RequestKey) -> Order:
    """Answer a key's first outcome again; take over what its first call has left undone for longer than the lease."""
    head = begun.head
    if head.status == VOID:
        raise _spent()
    key.recognise(head.request_digest)
    if head.status == PENDING:
        key.check_lease(head.created_at)
        with outcomes.located(f"/orders/{head.order_id}"):
            return _reserve_and_confirm(begun, alone=False)
    if head.status == REJECTED and not head.short_lines:
        raise _spent()
    key.replay()
    if head.status == REJECTED:
        if not head.settled:  # the first call decided it, and died before it gave back what it had reserved
            with outcomes.located(f"/orders/{head.order_id}"):
                _settle(begun, _products_of(begun))
        raise _stock_short(json.loads(head.short_lines))
    return begun


def _reserve_and_confirm(order: Order, *, alone: bool) -> Order:
    """Do the rest of a placing; `alone` unless an earlier call may still be at work on the same order."""
    head = order.head
    demand = rules.sum_by_product((line.product_id, line.quantity) for line in order.lines)
    short = reservations.reserve(head.order_id, demand)
    if short:
        return _reject(order, short, alone=alone)
    listings.add(listings.ORDERS, listings.ALL, head.order_id, head.created_at)
    listings.add(listings.USER_ORDERS, str(head.user_id), head.order_id, head.created_at)
    confirmed = orders.change_status(order, CONFIRMED, at=clocks.now(), settled=True)
    return confirmed or _follow(order)


def _follow(order: Order) -> Order:
    """Answer an order that somebody else has decided meanwhile: a late write of an earlier call, another one, recovery.

    A rejected one gives back what was reserved here after that decision, for nobody else would.
    """
    decided = _read(order.head.order_id)
    if decided.head.status != REJECTED:
        return decided
    reservations.release(decided.head.order_id, _products_of(decided))
    raise _stock_short(json.loads(decided.head.short_lines)) if decided.head.short_lines else _given_up()


def _spent() -> KeySpent:
    return KeySpent("The first call under this idempotency key was given up; nothing was ordered. Use a new key.")


def _given_up() -> OrderGivenUp:
    return OrderGivenUp("The order took so long that it was given up; nothing was ordered.")


def _read_products(user_id: UUID, items: list[Item]) -> dict[UUID, Product]:
    """Return the products to be sold; raise `ReferenceInvalid` that names each that can't be, and the user."""
    wrong = []
    user = users.find(user_id)
    if user is None or user.state != ACTIVE:
        wrong.append(FieldError("user_id", f"names no user: {user_id}"))
    found = products.find_many(item.product_id for item in items)
    wrong += [
        FieldError(f"items[{place}].product_id", f"names no product on sale: {item.product_id}")
        for place, item in enumerate(items)
        if not is_on_sale(found.get(item.product_id))
    ]
    if wrong:
        raise ReferenceInvalid("The order names something that is not there.", wrong)
    return found


def _write_down(
    user_id: UUID, items: list[Item], sold: dict[UUID, Product], currency: str, key: RequestKey | None
) -> Order:
    """Make the order that is to be written, at the prices of this moment."""
    now, order_id = clocks.now(), key.made_id if key else uuid4()
    lines = [_line(order_id, number, item, sold[item.product_id]) for number, item in enumerate(items)]
    head = lines[0]
    head.user_id = user_id
    head.status = PENDING
    head.order_total = sum((line.total for line in lines), Decimal(0))
    head.currency = currency
    head.created_at = head.updated_at = now
    head.reached = {PENDING: now}
    head.version = 1
    head.change_id = uuid4()
    head.settled = False
    head.request_digest = digest_of(key)
    return Order(tuple(lines))


def _line(order_id: UUID, number: int, item: Item, product: Product) -> OrderRow:
    return OrderRow(
        order_id=order_id,
        line=number,
        product_id=product.product_id,
        sku=product.sku,
        name=product.name,
        quantity=item.quantity,
        unit_price=product.price,
        total=rules.line_total(product.price, item.quantity),
    )


def _short_lines(short: list[reservations.Short], order: Order) -> list[dict[str, Any]]:
    """Return, for each line of a short product, what was asked for in all and what there is."""
    by_product = {one.product_id: one for one in short}
    return [
        {
            "line": line.line,
            "product_id": str(line.product_id),
            "requested": by_product[line.product_id].requested,
            "available": by_product[line.product_id].available,
        }
        for line in order.lines
        if line.product_id in by_product
    ]


def _stock_short(lines: list[dict[str, Any]]) -> StockShort:
    return StockShort("There is less in stock than was ordered; nothing was reserved.", lines=lines)


def _note_intent(scope: str, order_id: UUID, at: datetime) -> None:
    """Let recovery find the order, before anything is done that a crash could leave half done.

    An intent alone does nothing to an order, so one that may or may not stand there changes nothing.
    """
    with outcomes.untouched():
        listings.add(listings.INTENTS, scope, order_id, at)


def _reject(order: Order, short: list[reservations.Short], *, alone: bool) -> Order:
    """Decide that a pending order is rejected, give back what it had reserved, and raise `StockShort`.

    What was short for this call holds nothing, if it is alone; another call may have found more of it since.
    """
    lines = _short_lines(short, order)
    rejected = orders.change_status(order, REJECTED, at=clocks.now(), settled=False, short_lines=json.dumps(lines))
    if rejected is None:
        return _follow(order)
    refused = {one.product_id for one in short} if alone else set()
    _settle(rejected, [key for key in _products_of(order) if key not in refused])
    raise _stock_short(lines)


def _products_of(order: Order) -> list[UUID]:
    return list(dict.fromkeys(line.product_id for line in order.lines))


def _settle(order: Order, product_ids: list[UUID]) -> None:
    """Let stock follow what the status has decided, and note that it has; harmless when it is done twice."""
    head = order.head
    if head.status in (REJECTED, CANCELLED):
        reservations.release(head.order_id, product_ids)
    elif head.status == FULFILLED:
        reservations.fulfil(head.order_id, product_ids)
    orders.settle(order)


def _read(order_id: UUID) -> Order:
    order = orders.find(order_id, serial=True)
    if order is None or order.head.status == VOID:
        raise OrderNotFound(f"There is no order {order_id}.", order_id=str(order_id))
    return order


def get(order_id: UUID) -> Order:
    """Return an order. Raises `OrderNotFound`."""
    order = orders.find(order_id)
    if order is None or order.head.status == VOID:
        raise OrderNotFound(f"There is no order {order_id}.", order_id=str(order_id))
    return order


def pay(
    order_id: UUID,
    method: str | None,
    reference: str | None,
    version: int | None = None,
    key: RequestKey | None = None,
) -> Order:
    """Note that a confirmed order was paid.

    Raises `OrderNotFound`, `OrderStateConflict`, `VersionStale`, and under a key `KeyReused`.
    """
    return _advance(_Step(order_id, PAID, version, key, method, reference))


def fulfil(order_id: UUID, version: int | None = None, key: RequestKey | None = None) -> Order:
    """Hand a paid order over: its units leave what is on hand. Raises as `pay`."""
    return _advance(_Step(order_id, FULFILLED, version, key))


def cancel(order_id: UUID, version: int | None = None) -> Order:
    """Cancel an order that is not fulfilled: its units come back, exactly once. Raises as `pay`.

    An order that is cancelled already is returned as it is, its stock brought back first if that was left undone.
    """
    return _advance(_Step(order_id, CANCELLED, version))


@dataclass(frozen=True)
class _Step:
    """A status that an order is asked to take."""

    order_id: UUID
    status: str
    version: int | None
    key: RequestKey | None = None
    method: str | None = None
    reference: str | None = None

    @property
    def step_key(self) -> str:
        """What the order remembers of the request's key."""
        return f"{self.key.made_id} {self.key.digest}" if self.key else ""


def _advance(step: _Step) -> Order:
    for _ in conditional.pauses():
        order = _read(step.order_id)
        if _is_taken(order, step):
            return _finish(order)
        check_version(order.head.version, step.version)
        _check_follows(order, step.status)
        if step.status != PAID:
            _note_intent(ADVANCING, step.order_id, clocks.now())
        with outcomes.located(f"/orders/{step.order_id}"):
            taken = _take(order, step)
        if taken is not None:
            return _finish(taken)
    raise Contended("Others keep changing this order; nothing was changed.")


def _is_taken(order: Order, step: _Step) -> bool:
    """Tell whether this request has taken this step already, or any has cancelled it or left its stock undone."""
    made_id, _, digest = (order.head.step_keys.get(step.status) or "").partition(" ")
    if step.key is not None and made_id == str(step.key.made_id):
        step.key.recognise(digest)
        step.key.replay()
        return True
    return bool(order.head.status == step.status and (step.status == CANCELLED or not order.head.settled))


def _take(order: Order, step: _Step) -> Order | None:
    return orders.change_status(
        order,
        step.status,
        at=clocks.now(),
        settled=step.status == PAID,
        method=step.method,
        reference=step.reference,
        step_key=step.step_key,
    )


def _finish(order: Order) -> Order:
    if not order.head.settled:
        with outcomes.located(f"/orders/{order.head.order_id}"):
            _settle(order, _products_of(order))
    return order


def _check_follows(order: Order, status: str) -> None:
    present = order.head.status
    if status not in rules.FOLLOWS[present]:
        allowed = " or ".join(sorted(rules.FOLLOWS[present]))
        rest = f"it can only become {allowed}" if allowed else "that is final"
        raise OrderStateConflict(f"The order is {present}; {rest}.", order_status=present)


def find_left(order_ids: list[UUID]) -> set[UUID]:
    """Return those orders that were not written, are not decided, or whose stock has not followed yet."""
    found = orders.find_many(order_ids)
    return {key for key in order_ids if key not in found or not found[key].head.settled}


def find_undecided(order_ids: list[UUID]) -> set[UUID]:
    """Return those orders that somebody meant to end, and that have not ended or whose stock has not followed yet."""
    found = orders.find_many(order_ids)
    return {key for key, order in found.items() if not (order.head.settled and order.head.status in rules.FINAL)}


def find_unpaid(order_ids: list[UUID]) -> set[UUID]:
    """Return those orders that wait to be paid, or may still come to."""
    found = orders.find_many(order_ids)
    return {key for key, order in found.items() if order.head.status in (PENDING, CONFIRMED)}


def recover(order_id: UUID, *, pending_before: datetime) -> bool:
    """Finish what a crash left of an order; return whether nothing is left to do.

    An order that was never written is made impossible, one that is PENDING since before `pending_before` (naive UTC) is
    rejected, and stock follows what was decided. Harmless beside the worker that placed it: whoever decides first wins.
    """
    order = orders.find(order_id, serial=True)
    if order is None:
        order = _void(order_id)
        if not orders.insert(order):  # it was written meanwhile, or another recovery was faster
            return recover(order_id, pending_before=pending_before)
    head = order.head
    if head.status == PENDING:
        if head.created_at >= pending_before:
            return False
        rejected = orders.change_status(order, REJECTED, at=clocks.now(), settled=False)
        if rejected is None:  # it was decided meanwhile
            return recover(order_id, pending_before=pending_before)
        order = rejected
    if not order.head.settled:
        _settle(order, _products_of(order))
    return True


def decide(order_id: UUID) -> bool:
    """Let an order that somebody meant to end either have ended or be out of their reach; return whether it is.

    What was decided is finished; otherwise the version moves on, so that a change still on its way fails.
    """
    order = _read(order_id)
    if not order.head.settled:
        _settle(order, _products_of(order))
        return True
    return order.head.status in rules.FINAL or orders.fence(order) or decide(order_id)


def _void(order_id: UUID) -> Order:
    now = clocks.now()
    row = OrderRow(order_id=order_id, line=0, status=VOID, created_at=now, updated_at=now, version=1, settled=True)
    row.change_id = uuid4()
    return Order((row,))


def expire(order_id: UUID, *, placed_before: datetime) -> bool:
    """Cancel an order that was placed before then (naive UTC) and never paid; return whether nothing is left to do."""
    order = orders.find(order_id, serial=True)
    if order is None or order.head.status not in (PENDING, CONFIRMED):
        return True
    if order.head.status == PENDING or order.head.created_at >= placed_before:
        return False
    try:
        cancel(order_id, order.head.version)
    except VersionStale:  # a payment came first: a paid order could be cancelled, but has not expired
        return expire(order_id, placed_before=placed_before)
    return True


def find_page(
    *, user_id: UUID | None = None, day: date | None = None, status: str | None = None, limit: int, cursor: str | None
) -> Page[Order]:
    """Return orders, newest first: all, those of a user or those of a day, each also of one status only."""
    if user_id is not None and day is not None:
        message = "cannot be combined with `user_id`: filter by `user_id` or by `day`, each also with `status`"
        raise RequestInvalid("No table serves these filters together.", [FieldError("day", message)])
    table, scope = (listings.ORDERS, listings.ALL) if user_id is None else (listings.USER_ORDERS, str(user_id))
    return collect(
        table,
        scope,
        orders.find_many,
        cursor=cursor,
        limit=limit,
        keep=lambda order: status is None or bool(order.head.status == status),
        since=day or date.min,
        until=day or date.max,
    )


def walk_sales(start: date, end: date) -> Iterator[Order]:
    """Yield every order of these days that counts as a sale, newest first, a page at a time."""
    cursor: str | None = None
    while True:
        page = collect(
            listings.ORDERS,
            listings.ALL,
            orders.find_many,
            cursor=cursor,
            limit=100,
            keep=lambda order: order.head.status in rules.SOLD,
            since=start,
            until=end,
        )
        yield from page.items
        if page.next is None:
            return
        cursor = page.next
