"""What the tests of the use cases share: a product with stock, a user, many at once. All keys are new."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from store_manager.database import deadlines
from store_manager.errors import StoreError
from store_manager.services import products, stocks, users

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.models import Product, User

T = TypeVar("T")

CURRENCY = "CAD"
PATIENCE_S = 30.0


def new_key() -> str:
    return uuid.uuid4().hex


def new_product(quantity: int | None = None, **values: Any) -> Product:
    product = products.create({"name": "Mouse", "sku": new_key(), "price": Decimal("29.99")} | values, CURRENCY)
    if quantity is not None:
        stocks.count(product.product_id, quantity, None)
    return product


def new_user(**values: Any) -> User:
    return users.create({"name": "Jane", "email": f"{new_key()}@example.ca"} | values)


def at_once(times: int, act: Callable[[int], T]) -> list[T | StoreError]:
    """Act many times at the same moment; return each result, or the store's error."""

    def one(number: int) -> T | StoreError:
        with deadlines.deadline(PATIENCE_S):
            try:
                return act(number)
            except StoreError as error:
                return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))
