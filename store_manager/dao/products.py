"""The products' rows. Which state follows which is decided by the services."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from cassandra import ConsistencyLevel
from cassandra.cqlengine.query import LWTException

from store_manager.dao import rows
from store_manager.models.marks import names_on_change
from store_manager.models.products import Product

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_TOGETHER = 50
"""How many products one statement reads: bounded, so that no coordinator gathers too much."""

CHANGEABLE = (*names_on_change(Product), "state", "updated_at")
"""All columns that can change, so that every change is one statement shape."""


def insert(product: Product) -> bool:
    """Write a new product whole; return whether it is this one that stands under its id.

    Consistency: LWT. Safe to send again. Partition: (product_id).
    """
    return rows.insert(product, Product.objects(product_id=product.product_id))


def find(product_id: UUID, *, serial: bool = False) -> Product | None:
    """Return the product in whatever state it is, or None.

    Consistency: the read level, or SERIAL when asked. Idempotent. Partition: (product_id).
    """
    found: Product | None = rows.find(Product.objects(product_id=product_id), serial=serial)
    return found


def find_many(product_ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Return those of these products that exist, in whatever state, by id.

    Consistency: the read level. Idempotent. Partitions: each (product_id), `READ_TOGETHER` a statement.
    """
    found: dict[UUID, Product] = {}
    for ids in rows.split(product_ids, READ_TOGETHER):
        found.update({row.product_id: row for row in Product.objects(product_id__in=ids).limit(None)})
    return found


def find_at(product_id: UUID, level: str) -> Product | None:
    """Return the product as replicas at this level know it, in whatever state; None if they know of none.

    Consistency: `level`, so it may be stale. Idempotent. Partition: (product_id).
    """
    at_level = Product.objects(product_id=product_id).consistency(ConsistencyLevel.name_to_value[level])
    found: Product | None = at_level.first()
    return found


def touch(product: Product, level: str) -> bool:
    """Write the time of the last change again as it was read, if the product still has that version.

    A whole conditional write that changes nothing: neither what the version says nor the version, so it is harmless
    even if it applies late. Returns whether it applied.
    Consistency: LWT on `version`, committed at `level`. Safe to send again. Partition: (product_id).
    """
    guarded = Product.objects(product_id=product.product_id).iff(version=product.version)
    try:
        guarded.consistency(ConsistencyLevel.name_to_value[level]).update(updated_at=product.updated_at)
    except LWTException:
        return False
    return True


def change(product: Product, values: dict[str, Any]) -> bool:
    """Write all that can change of a product, if it still has the version that was read; return whether it had.

    Consistency: LWT on `version`. Safe to send again. Partition: (product_id).
    """
    return rows.change(Product.objects(product_id=product.product_id), product.version, _changeable(product) | values)


def _changeable(product: Product) -> dict[str, Any]:
    return {name: getattr(product, name) for name in CHANGEABLE}


def rehearse() -> None:
    """Run each query of this module once, so that its statements are prepared."""
    product = Product(product_id=uuid4(), sku="x", name="x", price=Decimal(0), version=1, change_id=uuid4())
    insert(product)
    find(product.product_id)
    find(product.product_id, serial=True)
    list(Product.objects(product_id__in=[product.product_id]).limit(None))
    find_at(product.product_id, "ONE")
    touch(product, "ONE")
    change(product, {})
