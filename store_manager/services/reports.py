"""Reports on orders, summed up from the orders of a few days when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from store_manager.dao import users
from store_manager.errors import FieldError, RequestInvalid
from store_manager.services.orders import walk_sales

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from uuid import UUID

    from store_manager.models.orders import Order

MOST_DAYS = 31
MOST_ORDERS = 20_000
"""How many days and orders one report sums up at most, so that it ends within a request."""


@dataclass(frozen=True)
class BestSeller:
    """A product, how many units were sold, and for how much; name and SKU as last sold."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    revenue: Decimal


@dataclass(frozen=True)
class Spender:
    """A user, how many orders, and their sum; `name` is None once the user is deleted."""

    user_id: UUID
    name: str | None
    orders: int
    total: Decimal


def find_best_sellers(*, start: date, end: date, limit: int) -> list[BestSeller]:
    """Return the products that sold the most units from `start` to `end`, both included.

    Orders count that are confirmed, paid or fulfilled. Raises `RequestInvalid` for a range too long to sum up.
    """
    sums: dict[UUID, BestSeller] = {}
    for order in _sales(start, end):
        for line in order.lines:
            seen = sums.get(line.product_id) or BestSeller(line.product_id, line.sku, line.name, 0, Decimal(0))
            sums[line.product_id] = BestSeller(
                line.product_id, seen.sku, seen.name, seen.quantity + line.quantity, seen.revenue + line.total
            )
    return sorted(sums.values(), key=lambda one: (-one.quantity, one.sku))[:limit]


def find_highest_spenders(*, start: date, end: date, limit: int) -> list[Spender]:
    """Return the users whose orders from `start` to `end`, both included, add up to the most.

    Orders count that are confirmed, paid or fulfilled. Raises `RequestInvalid` for a range too long to sum up.
    """
    sums: dict[UUID, tuple[int, Decimal]] = {}
    for order in _sales(start, end):
        count, total = sums.get(order.head.user_id, (0, Decimal(0)))
        sums[order.head.user_id] = (count + 1, total + order.head.order_total)
    top = sorted(sums.items(), key=lambda item: (-item[1][1], str(item[0])))[:limit]
    people = users.find_many(user_id for user_id, _ in top)
    return [
        Spender(user_id, people[user_id].name if user_id in people else None, count, total)
        for user_id, (count, total) in top
    ]


def _sales(start: date, end: date) -> Iterator[Order]:
    if end < start:
        raise RequestInvalid("The range is empty.", [FieldError("to", f"is before `from`, {start.isoformat()}")])
    if (end - start).days >= MOST_DAYS:
        raise RequestInvalid(
            "The range is too long.", [FieldError("to", f"is more than {MOST_DAYS} days after `from`")]
        )
    for number, order in enumerate(walk_sales(start, end)):
        if number == MOST_ORDERS:
            problem = FieldError("to", f"makes a range of more than {MOST_ORDERS} orders; ask for fewer days")
            raise RequestInvalid("There are too many orders in this range.", [problem])
        yield order
