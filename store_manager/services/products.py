"""Products: create, read, change, retire."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from store_manager.dao import claims as claim_rows
from store_manager.dao import conditional, listings, products
from store_manager.errors import (
    Contended,
    DatabaseUnavailable,
    FieldError,
    KeyInUse,
    OutcomeUnknown,
    ProductNotFound,
    RequestInvalid,
    SkuTaken,
    VersionStale,
)
from store_manager.models.claims import SKU, Claim
from store_manager.models.products import ACTIVE, DRAFT, REFUSED, RETIRED, Product
from store_manager.services import claims, clocks, outcomes
from store_manager.services.pages import Page, collect
from store_manager.services.request_keys import RequestKey, digest_of


def create(values: dict[str, Any], currency: str, key: RequestKey | None = None) -> Product:
    """Create a product under a SKU that nobody holds.

    Draft, claim of the SKU (from here on it is created), active, listed. Raises `SkuTaken`, and under a key `KeyReused`
    and `KeyInUse`.
    """
    begun = products.find(key.made_id, serial=True) if key else None
    if key and begun:
        return _go_on(begun, key)
    now = clocks.now()
    product = Product(
        product_id=key.made_id if key else uuid4(),
        currency=currency,
        created_at=now,
        updated_at=now,
        state=DRAFT,
        version=1,
        change_id=uuid4(),
        request_digest=digest_of(key),
        **values,
    )
    with outcomes.located(f"/products/{product.product_id}"):
        if not products.insert(product):
            raise KeyInUse("The first call under this idempotency key is still at work.")
        return _claim_and_finish(product)


def _go_on(begun: Product, key: RequestKey) -> Product:
    """Answer a key's first outcome again; take over what its first call has left undone for longer than the lease."""
    key.recognise(begun.request_digest)
    if begun.state == DRAFT:
        key.check_lease(begun.created_at)
        with outcomes.located(f"/products/{begun.product_id}"):
            return _claim_and_finish(begun)
    key.replay()
    if begun.state == REFUSED:
        raise _taken(begun.sku)
    return begun


def _claim_and_finish(draft: Product) -> Product:
    holder_id = claims.take(SKU, draft.sku, draft.product_id, lambda other: stands_behind(other, draft.sku))
    if holder_id != draft.product_id:
        products.change(draft, {"state": REFUSED})
        raise _taken(draft.sku)
    product = _finish(draft)
    if product.state == REFUSED:
        raise Contended("It took so long to create the product that it was given up.")
    return product


def _taken(sku: str) -> SkuTaken:
    return SkuTaken(f"SKU {sku} belongs to another product.", param="sku")


def _finish(product: Product) -> Product:
    """Make a draft that holds its SKU active and list it; harmless when it is done twice."""
    _list(product)
    products.change(product, {"state": ACTIVE})
    finished = products.find(product.product_id, serial=True)
    if finished is None:
        raise OutcomeUnknown("The product was written, but can't be read.")
    return finished


def _list(product: Product) -> None:
    listings.add(listings.PRODUCTS, listings.ALL, product.product_id, product.created_at)
    if product.category is not None:
        listings.add(listings.CATEGORIES, product.category, product.product_id, product.created_at)


def stands_behind(product_id: UUID, sku: str) -> bool:
    """Tell whether a product that holds the claim of a SKU still stands; one that was left a draft is finished."""
    product = products.find(product_id, serial=True)
    if product is None or not wants_sku(product, sku):
        return False
    if product.state == DRAFT:
        return bool(_finish(product).state == ACTIVE)
    return True


def wants_sku(product: Product, sku: str) -> bool:
    """Tell whether a product has a SKU, or has asked for it and still may get it."""
    return bool(product.sku == sku and product.state in (DRAFT, ACTIVE))


def get(product_id: UUID) -> Product:
    """Return a product that is on sale. Raises `ProductNotFound`."""
    product = products.find(product_id)
    if product is not None and product.state == DRAFT:
        product = _recover(product)
    if product is None or product.state != ACTIVE:
        raise ProductNotFound(f"There is no product {product_id}.", product_id=str(product_id))
    return product


def _recover(draft: Product) -> Product | None:
    """Finish a draft that holds its SKU; one that does not was never created."""
    claim = claim_rows.find(SKU, draft.sku)
    if claim is None or claim.holder_id != draft.product_id:
        return None
    return _finish(draft)


def find_page(
    *, limit: int, cursor: str | None, search: str | None = None, sku: str | None = None, category: str | None = None
) -> Page[Product]:
    """Return products on sale, newest first: all, those of a category, those that match a search, or that of a SKU."""
    if sku is not None:
        if search is not None or category is not None:
            raise _unserved()
        return _page_of_sku(sku)
    table, scope = (listings.PRODUCTS, listings.ALL) if category is None else (listings.CATEGORIES, category)
    return collect(
        table,
        scope,
        products.find_many,
        cursor=cursor,
        limit=limit,
        keep=lambda product: is_on_sale(product) and _fits(product, search, category),
    )


def _unserved() -> RequestInvalid:
    message = "cannot be combined: filter by `sku` alone, or by `category` and `search` together or alone"
    return RequestInvalid("No table serves these filters together.", [FieldError("sku", message)])


def _page_of_sku(sku: str) -> Page[Product]:
    claim = claim_rows.find(SKU, sku)
    try:
        product = None if claim is None else get(claim.holder_id)
    except ProductNotFound:
        product = None
    return Page([product] if product is not None and product.sku == sku else [], None)


def _fits(product: Product, search: str | None, category: str | None) -> bool:
    if category is not None and product.category != category:
        return False
    return search is None or search.casefold() in f"{product.sku}\n{product.name}".casefold()


def is_on_sale(product: Product | None) -> bool:
    """Tell whether a product may be shown and sold."""
    return product is not None and product.state == ACTIVE


def change(product_id: UUID, changes: dict[str, Any], version: int | None) -> Product:
    """Change what may change of a product, if it still has this version. Raises `ProductNotFound`, `VersionStale`."""
    for _ in conditional.pauses():
        product = get(product_id)
        check_version(product.version, version)
        with outcomes.located(f"/products/{product_id}"):
            moves = "category" in changes and changes["category"] not in (None, product.category)
            if moves:  # listed first: a listing row without its product is left out, a product without one is lost
                listings.add(listings.CATEGORIES, changes["category"], product_id, product.created_at)
            if products.change(product, changes | {"updated_at": clocks.now()}):
                return _changed(product, changes)
    raise Contended("Others keep changing this product; nothing was changed.")


def _changed(before: Product, changes: dict[str, Any]) -> Product:
    after = products.find(before.product_id, serial=True)
    if after is None:
        raise ProductNotFound(f"There is no product {before.product_id}.", product_id=str(before.product_id))
    if before.category is not None and changes.get("category", before.category) != before.category:
        _unlist_category(before)
    return after


def _unlist_category(product: Product) -> None:
    try:
        listings.remove(listings.CATEGORIES, product.category, product.product_id, product.created_at)
    except (DatabaseUnavailable, OutcomeUnknown):
        return  # a row too many is left out when it is read


def check_version(current: int, expected: int | None) -> None:
    """Raise `VersionStale` if the caller expects another version than the current one."""
    if expected is not None and expected != current:
        raise VersionStale("It was changed since it was read.", expected=expected, current=current)


def retire(product_id: UUID, version: int | None) -> None:
    """Hide a product and stop its sale; its SKU may be claimed again. Raises `ProductNotFound`, `VersionStale`.

    From the change of its state on it is retired; a crash after it leaves a dead claim and dead listing rows.
    """
    for _ in conditional.pauses():
        product = get(product_id)
        check_version(product.version, version)
        claim = claims.find_held(SKU, product.sku, product_id)
        if products.change(product, {"state": RETIRED, "updated_at": clocks.now()}):
            _forget(product, claim)
            return
    raise Contended("Others keep changing this product; nothing was changed.")


def _forget(product: Product, claim: Claim | None) -> None:
    try:
        claims.give_up(claim)
        listings.remove(listings.PRODUCTS, listings.ALL, product.product_id, product.created_at)
    except (DatabaseUnavailable, OutcomeUnknown):
        return  # a dead claim is taken over by the next who wants it; a dead listing row is left out
    if product.category is not None:
        _unlist_category(product)
