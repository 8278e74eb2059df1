"""A small sample to try the store with: products, stock, a customer. What is there already is left as it is."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from store_manager.errors import EmailTaken, SkuTaken
from store_manager.services import products, stocks, users

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCTS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"sku": "MOUSE-1", "name": "Wireless mouse", "price": Decimal("24.95"), "category": "peripherals"}, 40),
    ({"sku": "KEYS-FR", "name": "Clavier mécanique", "price": Decimal("119.00"), "category": "peripherals"}, 12),
    ({"sku": "SCREEN-27", "name": '27" screen', "price": Decimal("349.50"), "category": "screens"}, 5),
    ({"sku": "CABLE-C", "name": "USB-C cable, 2 m", "price": Decimal("9.95"), "category": "cables"}, 250),
    ({"sku": "LAMP-1", "name": "Lampe de bureau", "price": Decimal("45.00"), "category": "furniture"}, 0),
)
"""Each product with the first count of its stock."""

USER = {"name": "John Roe", "email": "jr@example.ca"}


def load(currency: str) -> Iterator[str]:
    """Create the sample, and yield what was done after each step; run again, it goes on where it was interrupted."""
    for values, quantity in PRODUCTS:
        yield _load_product(values, quantity, currency)
    try:
        users.create(USER)
    except EmailTaken:
        yield f"user {USER['email']}: there already"
    else:
        yield f"user {USER['email']}"


def _load_product(values: dict[str, Any], quantity: int, currency: str) -> str:
    try:
        product = products.create(values, currency)
    except SkuTaken:
        [product] = products.find_page(limit=1, cursor=None, sku=values["sku"]).items
    if stocks.find(product.product_id) is not None:
        return f"product {product.sku}: there already"
    stocks.count(product.product_id, quantity, None)
    return f"product {product.sku}, {quantity} in stock"
