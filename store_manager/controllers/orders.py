"""`/orders`: what is bought. HTTP in, HTTP out; the rules stand in `store_manager.services.orders`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_restx import Namespace
from flask_restx import fields as restx

from store_manager.controllers.contexts import store
from store_manager.controllers.fields import DayField, TextField, TimeField
from store_manager.controllers.operations import (
    READS_OTHER,
    Answer,
    Contract,
    StoreResource,
    answer,
    operation,
    path_id,
)
from store_manager.controllers.pages import page_of, page_query
from store_manager.controllers.representations import Input, Representation, given_field, shown_fields
from store_manager.errors import OrderGivenUp, OrderNotFound, OrderStateConflict, ReferenceInvalid, StockShort
from store_manager.models import OrderRow
from store_manager.models.base import MAX_QUANTITY
from store_manager.models.orders import CONFIRMED, STATUSES
from store_manager.services import orders
from store_manager.services.orders import Item

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response

    from store_manager.services.request_keys import RequestKey

MOST_LINES = 100

ns = Namespace("orders", description="What is bought, from reservation to hand-over")

ORDER_LINE = Representation("OrderLine", shown_fields(OrderRow, static=False, leave=("order_id",)))
STATUS_CHANGE = Representation(
    "StatusChange",
    {
        "status": TextField(description="The status", required=True, limits={"enum": list(STATUSES)}),
        "at": TimeField(description="When it was reached, UTC", required=True),
    },
)
ORDER = Representation(
    "Order",
    {
        **shown_fields(OrderRow, only=("order_id",), under="head"),
        **shown_fields(OrderRow, static=True, under="head"),
        "lines": restx.List(restx.Nested(ORDER_LINE.model), required=True, description="What is bought"),
        "history": restx.List(restx.Nested(STATUS_CHANGE.model), required=True, description="Oldest first"),
    },
    version="head.version",
)
ORDER_PAGE = page_of("OrderPage", "orders", ORDER)

ITEM = Input(
    "OrderItem",
    {
        "product_id": given_field(OrderRow.product_id.column),
        "quantity": given_field(OrderRow.quantity.column, minimum=1, maximum=MAX_QUANTITY),
    },
)
ORDER_NEW = Input(
    "OrderNew",
    {
        "user_id": given_field(OrderRow.user_id.column),
        "items": restx.List(
            restx.Nested(ITEM.model),
            required=True,
            min_items=1,
            max_items=MOST_LINES,
            description="What to buy; lines of one product are summed",
        ),
    },
)
PAYMENT = Input(
    "Payment",
    {
        "method": given_field(OrderRow.payment_method.column, required=False, minLength=1, maxLength=64),
        "reference": given_field(OrderRow.payment_reference.column, required=False, minLength=1, maxLength=200),
    },
)
ORDER_QUERY = page_query(
    "OrderQuery",
    {
        "user_id": given_field(OrderRow.user_id.column, required=False, nullable=False),
        "day": DayField(description="Placed on this day, UTC"),
        "status": TextField(description="In this status", limits={"enum": list(STATUSES)}, example=CONFIRMED),
    },
)
_STEP_REFUSES = (OrderNotFound, OrderStateConflict)


@ns.route("")
class Orders(StoreResource):
    """The collection of orders."""

    @operation(
        ns,
        Contract(
            "place_order",
            {201: Answer("The order, with its stock reserved", ORDER, located=True)},
            body=ORDER_NEW,
            refuses=(ReferenceInvalid, StockShort, OrderGivenUp),
            writes=True,
            keyed=True,
        ),
    )
    def post(self, body: dict[str, Any], key: RequestKey | None) -> Response:
        """Place an order: all of it is reserved, or nothing is.

        Prices are taken from the products at this moment. Refused with each line of which there is not enough.
        """
        items = [Item(**item) for item in body["items"]]
        order = orders.place(body["user_id"], items, store().settings.store_currency, key)
        return answer(ORDER, order, status=201, location=f"/orders/{order.head.order_id}")

    @operation(
        ns, Contract("list_orders", {200: Answer("A page of orders", ORDER_PAGE)}, query=ORDER_QUERY, reads=READS_OTHER)
    )
    def get(self, query: dict[str, Any]) -> Response:
        """List orders, newest first.

        Filter by `user_id` or by `day`, each also with `status`, or by `status` alone.
        """
        return answer(ORDER_PAGE, orders.find_page(**query))


@ns.route("/<order_id>")
@ns.doc(params=path_id("order_id", "The order's id"))
class OneOrder(StoreResource):
    """One order."""

    @operation(
        ns, Contract("get_order", {200: Answer("The order", ORDER)}, refuses=(OrderNotFound,), reads=READS_OTHER)
    )
    def get(self, order_id: UUID) -> Response:
        """Read an order."""
        return answer(ORDER, orders.get(order_id))

    @operation(
        ns,
        Contract(
            "cancel_order",
            {200: Answer("The cancelled order", ORDER)},
            if_match=True,
            refuses=_STEP_REFUSES,
            writes=True,
        ),
    )
    def delete(self, order_id: UUID, version: int | None) -> Response:
        """Cancel an order: its stock comes back, exactly once.

        One that is cancelled already is answered as it is; one that is fulfilled is refused.
        """
        return answer(ORDER, orders.cancel(order_id, version))


@ns.route("/<order_id>/payment")
@ns.doc(params=path_id("order_id", "The order that is paid"))
class Payment(StoreResource):
    """The payment of an order."""

    @operation(
        ns,
        Contract(
            "pay_order",
            {200: Answer("The paid order", ORDER)},
            body=PAYMENT,
            body_is_optional=True,
            if_match=True,
            refuses=_STEP_REFUSES,
            writes=True,
            keyed=True,
        ),
    )
    def post(self, order_id: UUID, body: dict[str, Any], version: int | None, key: RequestKey | None) -> Response:
        """Record that an order was paid.

        The store talks to no bank; the body is optional.
        """
        method, reference = body.get("payment_method"), body.get("payment_reference")
        return answer(ORDER, orders.pay(order_id, method, reference, version, key))


@ns.route("/<order_id>/fulfilment")
@ns.doc(params=path_id("order_id", "The order that is handed over"))
class Fulfilment(StoreResource):
    """The hand-over of an order."""

    @operation(
        ns,
        Contract(
            "fulfil_order",
            {200: Answer("The fulfilled order", ORDER)},
            if_match=True,
            refuses=_STEP_REFUSES,
            writes=True,
            keyed=True,
        ),
    )
    def post(self, order_id: UUID, version: int | None, key: RequestKey | None) -> Response:
        """Hand a paid order over: its units leave what is on hand."""
        return answer(ORDER, orders.fulfil(order_id, version, key))
