"""Audit of the listings: each row against what it names, and each bucket against the directory.

Whether everything that must be listed is, is looked at where it is known: in the walks of products, users and orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from store_manager.dao import listings, orders, products, scans, users
from store_manager.dao.scans import Bucketed, Listed, Place
from store_manager.models import products as product_states
from store_manager.models import users as user_states
from store_manager.models.orders import VOID
from store_manager.services.findings import Code, Finding, Patience, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

    from store_manager.dao.listings import ListingTable
    from store_manager.dao.scans import Page
    from store_manager.models import Product, User
    from store_manager.models.orders import Order


@dataclass(frozen=True)
class Kind:
    """A listing, and what it lists: how that is read, where it must stand, and when it last changed.

    `place` returns None for what must not be listed; a draft is listed before it is active. `lacks_place` tells of rows
    that lack what says where they must stand.
    """

    table: ListingTable
    find_many: Callable[[Iterable[UUID]], dict[UUID, Any]]
    find: Callable[..., Any]
    place: Callable[[Any], Place | None]
    changed_at: Callable[[UUID], datetime | None]
    lacks_place: Callable[[Any], bool]

    @property
    def name(self) -> str:
        """The name of the table."""
        return str(self.table.rows.column_family_name(include_keyspace=False))


def place_product(product: Product) -> Place | None:
    """Return where a product must stand in the listing of all, or None if it must not."""
    if product.state not in (product_states.ACTIVE, product_states.DRAFT):
        return None
    return Place(listings.PRODUCTS, listings.ALL, product.product_id, product.created_at)


def place_in_category(product: Product) -> Place | None:
    """Return where a product must stand in the listing of its category, or None if it has none or must not."""
    if product.state not in (product_states.ACTIVE, product_states.DRAFT) or product.category is None:
        return None
    return Place(listings.CATEGORIES, product.category, product.product_id, product.created_at)


def place_user(user: User) -> Place | None:
    """Return where a user must stand in the listing of all, or None if it must not."""
    if user.state not in (user_states.ACTIVE, user_states.DRAFT):
        return None
    return Place(listings.USERS, listings.ALL, user.user_id, user.created_at)


def place_order(order: Order) -> Place | None:
    """Return where an order must stand in the listing of all, if it stands there."""
    return _place_order(listings.ORDERS, order, listings.ALL)


def place_order_of_user(order: Order) -> Place | None:
    """Return where an order must stand in the listing of its user, if it stands there."""
    return _place_order(listings.USER_ORDERS, order, str(order.head.user_id))


def _place_order(table: ListingTable, order: Order, scope: str) -> Place | None:
    head = order.head
    if head.status == VOID:
        return None
    return Place(table, scope, head.order_id, head.created_at)


def _is_timeless(row: Product | User) -> bool:
    return row.created_at is None


def _is_nowhere(order: Order) -> bool:
    return order.head.status != VOID and None in (order.head.created_at, order.head.user_id)


KINDS = (
    Kind(listings.PRODUCTS, products.find_many, products.find, place_product, scans.find_product_time, _is_timeless),
    Kind(
        listings.CATEGORIES, products.find_many, products.find, place_in_category, scans.find_product_time, _is_timeless
    ),
    Kind(listings.USERS, users.find_many, users.find, place_user, scans.find_user_time, _is_timeless),
    Kind(listings.ORDERS, scans.find_orders, orders.find, place_order, lambda _: None, _is_nowhere),
    Kind(listings.USER_ORDERS, scans.find_orders, orders.find, place_order_of_user, lambda _: None, _is_nowhere),
)
"""The listings that people read. The intents are recovery's, and expire."""


def judge_unlisted(place: Place) -> Finding | None:
    """Return that a place in a listing is empty at which something must stand."""
    if not scans.find_unlisted([place]):
        return None
    return Finding(
        Code.LISTING_MISSING,
        "It must be listed, and is not",
        _name(place.table, place.scope, place.bucket, place.position),
        mend=partial(listings.add, place.table, place.scope, place.key, place.created_at),
    )


class ListingWalk(Walk[Listed, Listed]):
    """Every row of one listing."""

    def __init__(self, patience: Patience, kind: Kind) -> None:
        super().__init__(patience)
        self.name = kind.name
        self._kind = kind

    def pages(self) -> Iterator[Page[Listed]]:
        """Yield the rows."""
        return scans.walk_listing(self._kind.table)

    def sift(self, items: list[Listed]) -> Iterator[Listed]:
        """Return the rows that stand where nothing, or something else, must stand."""
        found = self._kind.find_many(listed.key for listed in items if listed.key is not None)
        for listed in items:
            if not self._belongs(listed, None if listed.key is None else found.get(listed.key)):
                yield listed

    def _belongs(self, listed: Listed, thing: Any) -> bool:
        if thing is None:
            return False
        if self._kind.lacks_place(thing):
            return True  # where it must stand can't be told, so nothing that names it is taken away
        place = self._kind.place(thing)
        return place is not None and listed == Listed(place.scope, *place.bucket, place.position, place.key)

    def look(self, key: Listed) -> list[Finding]:
        """Return that a row is dead, unless it was written, or what it names changed, a moment ago."""
        written_at = scans.find_listing_time(self._kind.table, key)
        thing = None if key.key is None else self._kind.find(key.key, serial=True)
        if written_at is None or self._belongs(key, thing):
            return []
        changed_at = None if key.key is None else self._kind.changed_at(key.key)
        return [
            Finding(
                Code.LISTING_DEAD,
                f"The row names {key.key}, which does not exist, is gone, or must be listed elsewhere",
                _name(self._kind.table, key.scope, (key.day, key.shard), key.position),
                self.patience.judge(written_at, changed_at),
                mend=lambda: scans.take_off(self._kind.table, key, written_before=self.patience.begin()),
            )
        ]


class BucketWalk(Walk[Bucketed, Bucketed]):
    """Every bucket of one listing that has rows."""

    def __init__(self, patience: Patience, kind: Kind) -> None:
        super().__init__(patience)
        self.name = f"{kind.name} buckets"
        self._table = kind.table

    def pages(self) -> Iterator[Page[Bucketed]]:
        """Yield the buckets."""
        return scans.walk_buckets(self._table)

    def sift(self, items: list[Bucketed]) -> list[Bucketed]:
        """Return the buckets that the directory has not."""
        return [(scope, bucket) for scope, bucket in items if not scans.is_announced(self._table, scope, bucket)]

    def look(self, key: Bucketed) -> list[Finding]:
        """Return that no reader looks into a bucket: it is announced before anything is written into it."""
        if scans.is_announced(self._table, *key):
            return []
        text = "The bucket has rows, but its directory does not name it: nobody finds them"
        mend = partial(scans.announce, self._table, *key)
        return [Finding(Code.BUCKET_UNANNOUNCED, text, _name(self._table, *key), mend=mend)]


def _name(table: ListingTable, scope: str, bucket: listings.Bucket, position: str = "") -> str:
    name = table.rows.column_family_name(include_keyspace=False)
    return f"{name} {scope}, {bucket[0]}, shard {bucket[1]}{position and ', '}{position}"
