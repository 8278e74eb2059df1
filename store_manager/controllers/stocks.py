"""`/stocks`: what is on hand. HTTP in, HTTP out; the rules stand in `store_manager.services.stocks`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flask_restx import Namespace

from store_manager.controllers.fields import WholeField
from store_manager.controllers.operations import (
    READS_STOCK,
    Answer,
    Contract,
    StoreResource,
    answer,
    operation,
    path_id,
)
from store_manager.controllers.pages import page_of, page_query
from store_manager.controllers.representations import (
    Fields,
    Input,
    Representation,
    fields_on_create,
    given_field,
    shown_fields,
)
from store_manager.errors import (
    CountBelowReserved,
    ProductNotFound,
    ReferenceInvalid,
    StockNotFound,
    StockShort,
)
from store_manager.models import LedgerMovement, Product, Stock
from store_manager.models.base import MAX_QUANTITY
from store_manager.services import stocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from flask import Response

    from store_manager.services.request_keys import RequestKey

USUALLY_LOW = 10

ns = Namespace("stocks", description="What is on hand, reserved and available, and how it moved")


def _available(source: str) -> Fields:
    description = "Units that can still be sold: quantity less reserved"
    return {"available": WholeField(attribute=source, description=description, required=True, example=54)}


_COUNT = {"quantity": given_field(Stock.on_hand.column, minimum=0, maximum=MAX_QUANTITY)}

STOCK = Representation("Stock", {**shown_fields(Stock), **_available("available")}, version="version")
STOCK_PAGE = page_of("StockPage", "stocks", STOCK)
STOCK_LINE = Representation(
    "StockLine",
    {
        **shown_fields(Product, only=("product_id", "sku", "name", "price", "currency"), under="product"),
        **shown_fields(Stock, only=("on_hand", "reserved"), under="stock"),
        **_available("stock.available"),
    },
)
STOCK_LINE_PAGE = page_of("StockLinePage", "stocks", STOCK_LINE)
MOVEMENT = Representation("Movement", shown_fields(LedgerMovement))
MOVEMENT_PAGE = page_of("MovementPage", "movements", MOVEMENT)

STOCK_NEW = Input("StockNew", {"product_id": given_field(Stock.product_id.column), **_COUNT})
STOCK_COUNT = Input("StockCount", _COUNT)
ADJUSTMENT = Input("Adjustment", fields_on_create(LedgerMovement))
STOCK_QUERY = page_query("StockQuery")
LOW_STOCK_QUERY = page_query(
    "LowStockQuery",
    {
        "below": WholeField(
            description="Fewer units than this are available",
            limits={"minimum": 1, "maximum": MAX_QUANTITY},
            default=USUALLY_LOW,
            example=USUALLY_LOW,
        )
    },
)


@contextmanager
def _product_of_the_path() -> Iterator[None]:
    """Say that the product does not exist as it is said of what a path names: 404, not 422."""
    try:
        yield
    except ReferenceInvalid as error:
        raise ProductNotFound(error.message) from error


@ns.route("")
class Stocks(StoreResource):
    """The collection of stocks."""

    @operation(
        ns,
        Contract(
            "set_stock",
            {
                200: Answer("The stock as it is now", STOCK),
                201: Answer("The stock, counted for the first time", STOCK, located=True),
            },
            body=STOCK_NEW,
            refuses=(CountBelowReserved, ReferenceInvalid),
            writes=True,
            keyed=True,
        ),
    )
    def post(self, body: dict[str, Any], key: RequestKey | None) -> Response:
        """Set the count of a product.

        The same as `PUT /stocks/{product_id}`, with the product in the body.
        """
        stock, created = stocks.count(body["product_id"], body["on_hand"], None, key)
        if created:
            return answer(STOCK, stock, status=201, location=f"/stocks/{stock.product_id}")
        return answer(STOCK, stock)

    @operation(
        ns, Contract("list_stocks", {200: Answer("A page of stocks", STOCK_PAGE)}, query=STOCK_QUERY, reads=READS_STOCK)
    )
    def get(self, query: dict[str, Any]) -> Response:
        """List the stocks of products that were ever counted, newest product first."""
        return answer(STOCK_PAGE, stocks.find_page(**query))


@ns.route("/<product_id>")
@ns.doc(params=path_id("product_id", "The product whose stock it is"))
class OneStock(StoreResource):
    """The stock of one product."""

    @operation(
        ns, Contract("get_stock", {200: Answer("The stock", STOCK)}, refuses=(StockNotFound,), reads=READS_STOCK)
    )
    def get(self, product_id: UUID) -> Response:
        """Read the stock of a product."""
        return answer(STOCK, stocks.get(product_id))

    @operation(
        ns,
        Contract(
            "count_stock",
            {200: Answer("The stock as it is now", STOCK)},
            body=STOCK_COUNT,
            if_match=True,
            refuses=(ProductNotFound, CountBelowReserved),
            writes=True,
        ),
    )
    def put(self, product_id: UUID, body: dict[str, Any], version: int | None) -> Response:
        """Set what is on hand.

        A count below what open orders have reserved is refused.
        """
        with _product_of_the_path():
            stock, _ = stocks.count(product_id, body["on_hand"], version)
        return answer(STOCK, stock)


@ns.route("/<product_id>/adjustments")
@ns.doc(params=path_id("product_id", "The product whose stock moves"))
class Adjustments(StoreResource):
    """What moves a stock."""

    @operation(
        ns,
        Contract(
            "adjust_stock",
            {201: Answer("The movement", MOVEMENT)},
            body=ADJUSTMENT,
            refuses=(ProductNotFound, StockShort),
            writes=True,
            keyed=True,
        ),
    )
    def post(self, product_id: UUID, body: dict[str, Any], key: RequestKey | None) -> Response:
        """Move what is on hand by a number of units, for a reason.

        What would leave less than open orders have reserved is refused, never cut short.
        """
        with _product_of_the_path():
            movement = stocks.adjust(product_id, body, key)
        return answer(MOVEMENT, movement, status=201)


@ns.route("/<product_id>/movements")
@ns.doc(params=path_id("product_id", "The product whose stock moved"))
class Movements(StoreResource):
    """How a stock moved."""

    @operation(
        ns,
        Contract(
            "list_movements",
            {200: Answer("A page of movements", MOVEMENT_PAGE)},
            query=page_query("MovementQuery"),
            refuses=(StockNotFound,),
            reads=READS_STOCK,
        ),
    )
    def get(self, product_id: UUID, query: dict[str, Any]) -> Response:
        """List the movements of a stock, newest first; they add up to what is on hand and to what is reserved."""
        return answer(MOVEMENT_PAGE, stocks.find_movements(product_id, **query))


@ns.route("/reports/overview-stocks")
class StockOverview(StoreResource):
    """All stocks at a glance."""

    @operation(
        ns,
        Contract(
            "report_stocks",
            {200: Answer("Products with their stock", STOCK_LINE_PAGE)},
            query=STOCK_QUERY,
            reads=READS_STOCK,
        ),
    )
    def get(self, query: dict[str, Any]) -> Response:
        """Show products with their stock, newest first."""
        return answer(STOCK_LINE_PAGE, stocks.overview(**query))


@ns.route("/reports/low-stock")
class LowStock(StoreResource):
    """What has to be ordered anew."""

    @operation(
        ns,
        Contract(
            "report_low_stock",
            {200: Answer("Products of which little is available", STOCK_LINE_PAGE)},
            query=LOW_STOCK_QUERY,
            reads=READS_STOCK,
        ),
    )
    def get(self, query: dict[str, Any]) -> Response:
        """Show products of which few units are available, newest first."""
        return answer(STOCK_LINE_PAGE, stocks.find_low(**query))
