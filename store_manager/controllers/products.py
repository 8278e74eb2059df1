"""`/products`: what the store sells. HTTP in, HTTP out; the rules stand in `store_manager.services.products`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_restx import Namespace

from store_manager.controllers.contexts import store
from store_manager.controllers.fields import TextField
from store_manager.controllers.operations import (
    READS_CATALOGUE,
    Answer,
    Contract,
    StoreResource,
    answer,
    nothing,
    operation,
    path_id,
)
from store_manager.controllers.pages import page_of, page_query
from store_manager.controllers.representations import (
    Input,
    Representation,
    fields_on_change,
    fields_on_create,
    given_field,
    shown_fields,
)
from store_manager.errors import ProductNotFound, SkuTaken
from store_manager.models import Product
from store_manager.services import products

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response

    from store_manager.services.request_keys import RequestKey

ns = Namespace("products", description="What the store sells")

PRODUCT = Representation("Product", shown_fields(Product), version="version")
PRODUCT_PAGE = page_of("ProductPage", "products", PRODUCT)
PRODUCT_NEW = Input("ProductNew", fields_on_create(Product))
PRODUCT_CHANGE = Input("ProductChange", fields_on_change(Product), least=1)
PRODUCT_QUERY = page_query(
    "ProductQuery",
    {
        "search": TextField(
            description="Text in the name or the SKU, in any case", limits={"minLength": 1, "maxLength": 100}
        ),
        "sku": given_field(Product.sku.column, required=False, nullable=False),
        "category": given_field(Product.category.column, required=False, nullable=False),
    },
)


@ns.route("")
class Products(StoreResource):
    """The collection of products."""

    @operation(
        ns,
        Contract(
            "create_product",
            {201: Answer("The product that was created", PRODUCT, located=True)},
            body=PRODUCT_NEW,
            refuses=(SkuTaken,),
            writes=True,
            keyed=True,
        ),
    )
    def post(self, body: dict[str, Any], key: RequestKey | None) -> Response:
        """Create a product.

        The SKU must be free. The price is a decimal amount with at most two places, as a JSON string or number.
        """
        product = products.create(body, store().settings.store_currency, key)
        return answer(PRODUCT, product, status=201, location=f"/products/{product.product_id}")

    @operation(
        ns,
        Contract(
            "list_products",
            {200: Answer("A page of products", PRODUCT_PAGE)},
            query=PRODUCT_QUERY,
            reads=READS_CATALOGUE,
        ),
    )
    def get(self, query: dict[str, Any]) -> Response:
        """List products, newest first.

        Filter by `sku` alone, or by `category` and `search`, together or alone.
        """
        return answer(PRODUCT_PAGE, products.find_page(**query))


@ns.route("/<product_id>")
@ns.doc(params=path_id("product_id", "The product's id"))
class OneProduct(StoreResource):
    """One product."""

    @operation(
        ns,
        Contract(
            "get_product", {200: Answer("The product", PRODUCT)}, refuses=(ProductNotFound,), reads=READS_CATALOGUE
        ),
    )
    def get(self, product_id: UUID) -> Response:
        """Read a product."""
        return answer(PRODUCT, products.get(product_id))

    @operation(
        ns,
        Contract(
            "change_product",
            {200: Answer("The product as it is now", PRODUCT)},
            body=PRODUCT_CHANGE,
            if_match=True,
            refuses=(ProductNotFound,),
            writes=True,
        ),
    )
    def patch(self, product_id: UUID, body: dict[str, Any], version: int | None) -> Response:
        """Change a product.

        Only the fields that are given change; null clears one that may be empty. Orders keep the price they were
        placed at.
        """
        return answer(PRODUCT, products.change(product_id, body, version))

    @operation(
        ns,
        Contract("retire_product", {204: Answer("Retired")}, if_match=True, refuses=(ProductNotFound,), writes=True),
    )
    def delete(self, product_id: UUID, version: int | None) -> Response:
        """Retire a product.

        It is no longer shown nor sold, and its SKU is free again. Orders keep what they sold; open ones finish.
        """
        products.retire(product_id, version)
        return nothing()
