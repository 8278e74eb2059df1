"""Products and the claims that keep SKUs unique (`store_manager.models.claims`)."""

from __future__ import annotations

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel
from store_manager.models.listings import Listing, ListingDirectory
from store_manager.models.marks import hidden, on_create, shown, writable

DRAFT, REFUSED, ACTIVE, RETIRED = "DRAFT", "REFUSED", "ACTIVE", "RETIRED"


class Product(StoreModel):
    """What the store sells. Serves: read by id. One row a partition. Owned by LWT on `version`.

    A row is written as DRAFT, becomes ACTIVE once it holds the claim of its SKU (REFUSED if another holds it), and ends
    as RETIRED. Only ACTIVE products are answered.
    """

    __table_name__ = "products"

    product_id = shown(columns.UUID(partition_key=True), "The product's id")
    sku = on_create(
        columns.Text(required=True),
        "Stock keeping unit: names the product in the store, unique among products that are not retired",
        example="MOUSE-7",
        minLength=1,
        maxLength=64,
    )
    name = writable(
        columns.Text(required=True), "What people call it", example="Gamer mouse", minLength=1, maxLength=200
    )
    price = writable(
        columns.Decimal(required=True),
        "Price of one unit, at most two decimal places, in the store's currency",
        example="29.99",
        minimum=0,
        maximum=1_000_000_000,
    )
    currency = shown(columns.Text(), "ISO 4217 code of the store's currency", example="CAD")
    category = writable(
        columns.Text(), "Where it stands in the catalogue", example="peripherals", minLength=1, maxLength=64
    )
    description = writable(columns.Text(), "Text for people", example="Seven buttons", maxLength=4000)
    created_at = shown(columns.DateTime(), "When it was created, UTC")
    updated_at = shown(columns.DateTime(), "When it was last changed, UTC")
    state = hidden(columns.Text())
    version = hidden(columns.BigInt())
    change_id = hidden(columns.UUID())
    """The write that made this version: proves whose it was when an answer was lost."""
    request_digest = hidden(columns.Text())


class ProductListing(Listing):
    """All products, newest first. Serves: `GET /products`. Scope `all`; at most a shard's part of a day's products."""

    __table_name__ = "product_listing"


class ProductListingDirectory(ListingDirectory):
    """Which buckets `product_listing` has. Serves: pages of it. Scope `all`; at most 8 rows a day with products."""

    __table_name__ = "product_listing_directory"


class CategoryListing(Listing):
    """The products of one category, newest first. Serves: `GET /products?category=`. Scope: the category.

    At most a shard's part of a day's products.
    """

    __table_name__ = "category_listing"


class CategoryListingDirectory(ListingDirectory):
    """Which buckets `category_listing` has. Serves: pages of it. Scope: the category; at most 8 rows a day."""

    __table_name__ = "category_listing_directory"
