"""Stocks: count, adjust, read, report. Every change goes through the product's writer (`stock_writers`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

from store_manager.dao import claims as claim_rows
from store_manager.dao import listings, products, stocks
from store_manager.errors import (
    CountBelowReserved,
    FieldError,
    OutcomeUnknown,
    ReferenceInvalid,
    StockNotFound,
    StockShort,
    VersionStale,
)
from store_manager.models.base import MAX_QUANTITY
from store_manager.models.claims import KEY
from store_manager.models.stocks import LedgerMovement, Stock, StockMovement, StockOperation
from store_manager.services import pages
from store_manager.services.pages import Page
from store_manager.services.products import is_on_sale
from store_manager.services.request_keys import RequestKey, digest_of
from store_manager.services.rules import Balance, Operation, Refusal, Verb
from store_manager.services.stock_writers import Done, StockWriters, await_done

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.models.products import Product

WRITERS = StockWriters()
"""The writers of this process."""

VERSION = re.compile(r"[1-9]\d{0,17}")


@dataclass(frozen=True)
class StockLine:
    """A product and its stock, for reports."""

    product: Product
    stock: Stock


def find(product_id: UUID) -> Stock | None:
    """Return the stock of a product, or None if it was never counted."""
    return stocks.find(product_id)


def get(product_id: UUID) -> Stock:
    """Return the stock of a product. Raises `StockNotFound` if it was never counted."""
    stock = find(product_id)
    if stock is None:
        raise StockNotFound(f"The stock of product {product_id} was never counted.", product_id=str(product_id))
    return stock


def count(product_id: UUID, quantity: int, version: int | None, key: RequestKey | None = None) -> tuple[Stock, bool]:
    """Set what is on hand, if the stock still has this version; return it, and whether it was the first count.

    Raises `ReferenceInvalid`, `CountBelowReserved`, `VersionStale`, and under a key `KeyReused`.
    """
    if key is not None:
        _bind(key, product_id)
    begun = _find_begun(product_id, key)
    if begun is None:
        _require_on_sale(product_id)
        operation_id = key.made_id if key else uuid4()
        done = _carry_out(
            product_id,
            Operation(Verb.COUNT, operation_id, quantity, expected_version=version, digest=digest_of(key)),
        )
        if done.movement is not None:
            return _stock_after(done.movement, done.verdict.after), done.movement.sequence == 1
        begun = _require_begun(product_id, key)
    return get(product_id), begun.done_version == 1


def _bind(key: RequestKey, product_id: UUID) -> None:
    """Bind a key to the product of its first call: the path does not name it, so another could follow under the key."""
    claim_id = uuid5(key.made_id, key.digest)
    if claim_rows.take(KEY, str(key.made_id), product_id, claim_id):
        return
    claim = claim_rows.find(KEY, str(key.made_id))
    key.recognise(key.digest if claim is not None and claim.claim_id == claim_id else None)


def _stock_after(movement: StockMovement, balance: Balance) -> Stock:
    return Stock(
        product_id=movement.product_id,
        on_hand=balance.on_hand,
        reserved=balance.reserved,
        version=balance.version,
        updated_at=movement.created_at,
    )


def _find_begun(product_id: UUID, key: RequestKey | None) -> StockOperation | None:
    """Return what a key's first call has done to this stock, or None."""
    if key is None:
        return None
    begun = stocks.find_operations(product_id, [key.made_id]).get(key.made_id)
    if begun is not None:
        key.recognise(begun.request_digest)
        key.replay()
    return begun


def _require_begun(product_id: UUID, key: RequestKey | None) -> StockOperation:
    """Return what another call under this key has done meanwhile."""
    begun = _find_begun(product_id, key)
    if begun is None:
        raise OutcomeUnknown("The stock may have been changed.", location=f"/stocks/{product_id}")
    return begun


def adjust(product_id: UUID, values: dict[str, Any], key: RequestKey | None = None) -> StockMovement | LedgerMovement:
    """Move what is on hand by `delta` for a `reason`; return the movement.

    Raises `ReferenceInvalid`, `StockShort` if less would be left than is reserved or than zero, and under a key
    `KeyReused`.
    """
    begun = _find_begun(product_id, key)
    if begun is None:
        _require_on_sale(product_id)
        done = _carry_out(
            product_id,
            Operation(
                Verb.ADJUST,
                key.made_id if key else uuid4(),
                values["delta"],
                reason=values["reason"],
                note=values.get("note"),
                digest=digest_of(key),
            ),
        )
        if done.movement is not None:
            return done.movement
        begun = _require_begun(product_id, key)
    movement = stocks.find_movement(product_id, begun.done_version)
    if movement is None:
        raise OutcomeUnknown("The stock was changed, but its movement can't be read.", location=f"/stocks/{product_id}")
    return movement


def _require_on_sale(product_id: UUID) -> None:
    if not is_on_sale(products.find(product_id)):
        problem = FieldError("product_id", f"names no product on sale: {product_id}")
        raise ReferenceInvalid(f"There is no product {product_id}.", [problem])


def _carry_out(product_id: UUID, operation: Operation) -> Done:
    try:
        done = await_done(WRITERS.submit(product_id, operation))
    except OutcomeUnknown as unknown:
        unknown.details["location"] = f"/stocks/{product_id}"
        raise
    _raise_refusal(product_id, done)
    return done


def _raise_refusal(product_id: UUID, done: Done) -> None:
    verdict = done.verdict
    balance = verdict.after
    details = {"product_id": str(product_id), "reserved": balance.reserved, "available": balance.available}
    match verdict.refusal:
        case None:
            return
        case Refusal.STALE:
            expected = verdict.operation.expected_version
            raise VersionStale("The stock was changed since it was read.", expected=expected, current=balance.version)
        case Refusal.BELOW_RESERVED:
            raise CountBelowReserved(f"{balance.reserved} units are reserved for open orders.", **details)
        case Refusal.TOO_MUCH:
            raise StockShort(f"A stock holds at most {MAX_QUANTITY} units.", **details)
        case _:
            raise StockShort(f"Only {balance.available} units are available.", **details)


def find_page(*, limit: int, cursor: str | None) -> Page[Stock]:
    """Return the stocks of products on sale that were ever counted, newest product first."""
    page = _find_lines(limit=limit, cursor=cursor, keep=lambda _: True)
    return Page([line.stock for line in page.items], page.next)


def overview(*, limit: int, cursor: str | None) -> Page[StockLine]:
    """Return every product on sale with its stock, newest first; what was never counted is left out."""
    return _find_lines(limit=limit, cursor=cursor, keep=lambda _: True)


def find_low(*, below: int, limit: int, cursor: str | None) -> Page[StockLine]:
    """Return the products on sale of which fewer than `below` units are available, newest first."""
    return _find_lines(limit=limit, cursor=cursor, keep=lambda line: line.stock.available < below)


def _find_lines(*, limit: int, cursor: str | None, keep: Callable[[StockLine], bool]) -> Page[StockLine]:
    return pages.collect(listings.PRODUCTS, listings.ALL, _read_lines, cursor=cursor, limit=limit, keep=keep)


def _read_lines(product_ids: list[UUID]) -> dict[UUID, StockLine]:
    found = {key: product for key, product in products.find_many(product_ids).items() if is_on_sale(product)}
    return {key: StockLine(found[key], stock) for key, stock in stocks.find_many(found).items()}


def find_movements(product_id: UUID, *, limit: int, cursor: str | None) -> Page[StockMovement | LedgerMovement]:
    """Return the ledger of a product's stock, newest first. Raises `StockNotFound`."""
    position = pages.decode(cursor, VERSION)
    stock = get(product_id)
    newest = int(stock.version)
    before = newest + 1 if position is None else min(int(position), newest + 1)
    found = stocks.list_movements(stock, before=before, limit=limit)
    more = len(found) == limit and found[-1].sequence > 1
    return Page(found, pages.encode(str(found[-1].sequence)) if more else None)
