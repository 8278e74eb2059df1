"""From a column to what the API shows and accepts: one declaration, and everything follows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from cassandra.cqlengine import columns
from flask import Flask
from flask_restx import Api, Namespace, marshal
from hypothesis import given
from hypothesis import strategies as st

from store_manager.controllers.operations import Answer, Contract, StoreResource, operation
from store_manager.controllers.orders import ORDER, ORDER_NEW
from store_manager.controllers.pages import page_of
from store_manager.controllers.products import PRODUCT, PRODUCT_CHANGE, PRODUCT_NEW
from store_manager.controllers.representations import (
    Input,
    Representation,
    fields_on_change,
    fields_on_create,
    shown_fields,
)
from store_manager.controllers.stocks import MOVEMENT, STOCK, STOCK_LINE
from store_manager.errors import RequestInvalid
from store_manager.models import LedgerMovement, OrderRow, Product, Stock, StockMovement
from store_manager.models.base import StoreModel
from store_manager.models.marks import hidden, shown, writable
from store_manager.models.orders import Order
from store_manager.services.pages import Page
from store_manager.services.stocks import StockLine


class HeavyProduct(Product):
    """A product with a column more: one line."""

    __table_name__ = "heavy_products"

    weight_g = writable(columns.Integer(), "Weight in grams", example=85, minimum=0)


def product(**values: Any) -> Product:
    now = datetime(2026, 11, 22, 12, 0, 0, 123000)  # noqa: DTZ001 - the driver answers naive UTC
    usual = {"product_id": uuid4(), "sku": "A", "name": "B", "price": Decimal("1.5"), "version": 3, "state": "ACTIVE"}
    return Product(**{**usual, "created_at": now, "updated_at": now, **values})


def as_json(representation: Representation, thing: Any) -> Any:
    return orjson.loads(orjson.dumps(representation.serialise(thing)))


def fields_of(error: pytest.ExceptionInfo[RequestInvalid]) -> dict[str, str]:
    return {field.param: field.message for field in error.value.fields}


def test_a_column_that_is_added_by_one_line_is_answered() -> None:
    heavy = HeavyProduct(product_id=uuid4(), sku="A", name="B", price=Decimal(1), weight_g=85)

    assert as_json(Representation("HeavyProduct", shown_fields(HeavyProduct)), heavy)["weight_g"] == 85


def test_a_column_that_is_added_by_one_line_is_accepted_if_it_is_marked_and_bounded_by_its_mark_and_its_type() -> None:
    new = Input("HeavyProductNew", fields_on_create(HeavyProduct))
    change = Input("HeavyProductChange", fields_on_change(HeavyProduct))

    assert new.read({"sku": "A", "name": "B", "price": 1, "weight_g": 85})["weight_g"] == 85
    assert change.read({"weight_g": None}) == {"weight_g": None}
    for wrong in (-1, 2**31, "85", 1.5, True):
        with pytest.raises(RequestInvalid) as error:
            change.read({"weight_g": wrong})
        assert list(fields_of(error)) == ["weight_g"]


def test_a_column_that_is_added_by_one_line_is_documented() -> None:
    ns = Namespace("heavy", path="/heavy")
    shown_as = Representation("HeavyProduct", shown_fields(HeavyProduct))
    accepted_as = Input("HeavyProductNew", fields_on_create(HeavyProduct))

    @ns.route("")
    class Heavy(StoreResource):
        @operation(ns, Contract("create_heavy", {201: Answer("Heavy", shown_as)}, body=accepted_as))
        def post(self) -> Any:
            """Create a heavy product."""

    app = Flask(__name__)
    Api(app).add_namespace(ns)
    definitions = app.test_client().get("/swagger.json").get_json()["definitions"]

    assert definitions["HeavyProduct"]["properties"]["weight_g"]["description"] == "Weight in grams"
    assert definitions["HeavyProductNew"]["properties"]["weight_g"] == {
        "type": "integer",
        "description": "Weight in grams",
        "example": 85,
        "minimum": 0,
        "maximum": 2**31 - 1,
        "x-nullable": True,
    }


def test_a_column_without_a_mark_is_answered_and_never_accepted_and_a_hidden_one_is_neither() -> None:
    class Plain(StoreModel):
        plain_id = columns.UUID(partition_key=True)
        plain = columns.Text()
        secret = hidden(columns.Text())

    assert list(shown_fields(Plain)) == ["plain_id", "plain"]
    assert fields_on_create(Plain) == {}
    assert fields_on_change(Plain) == {}


def test_a_column_of_a_type_without_a_field_is_refused_with_its_name_until_it_is_hidden() -> None:
    class Odd(StoreModel):
        odd_id = columns.UUID(partition_key=True)
        tags = shown(columns.Map(columns.Text(), columns.Text()), "Tags")

    with pytest.raises(TypeError, match="tags"):
        shown_fields(Odd)


def test_a_product_is_answered_with_exact_money_and_utc_times_and_without_what_is_hidden() -> None:
    answered = as_json(PRODUCT, product(price=Decimal("1E+2"), category=None))

    assert answered["price"] == "100.00"
    assert answered["created_at"] == "2026-11-22T12:00:00.123Z"
    assert answered["category"] is None
    assert set(answered) == {
        *("product_id", "sku", "name", "price", "currency", "category", "description", "created_at", "updated_at")
    }


def test_a_time_of_another_zone_is_answered_in_utc() -> None:
    elsewhere = datetime(2026, 11, 22, 7, 0, tzinfo=timezone(timedelta(hours=-5)))

    assert as_json(PRODUCT, product(created_at=elsewhere))["created_at"] == "2026-11-22T12:00:00.000Z"


def test_a_stock_is_answered_with_what_is_available() -> None:
    stock = Stock(product_id=uuid4(), on_hand=56, reserved=2, version=17, updated_at=datetime.now(UTC))

    answered = as_json(STOCK, stock)

    assert (answered["quantity"], answered["reserved"], answered["available"], answered["version"]) == (56, 2, 54, 17)
    assert set(answered) == {"product_id", "quantity", "reserved", "available", "version", "updated_at"}


def test_a_line_of_a_stock_report_joins_the_product_and_its_stock() -> None:
    sold = product(currency="CAD")
    line = StockLine(sold, Stock(product_id=sold.product_id, on_hand=5, reserved=1))

    assert as_json(STOCK_LINE, line) == {
        "product_id": str(sold.product_id),
        "sku": "A",
        "name": "B",
        "price": "1.50",
        "currency": "CAD",
        "quantity": 5,
        "reserved": 1,
        "available": 4,
    }


@pytest.mark.parametrize("model", [StockMovement, LedgerMovement])
def test_a_movement_is_answered_the_same_from_the_stock_and_from_the_ledger(model: Any) -> None:
    values = {"product_id": UUID(int=1), "movement_id": UUID(int=2), "sequence": 18, "delta": -2, "reason": "DAMAGED"}

    answered = as_json(MOVEMENT, model(**values, reserved_delta=0, created_at=datetime(2026, 1, 1)))  # noqa: DTZ001

    assert answered == {
        "movement_id": str(UUID(int=2)),
        "product_id": str(UUID(int=1)),
        "version": 18,
        "delta": -2,
        "reserved_delta": 0,
        "reason": "DAMAGED",
        "note": None,
        "created_at": "2026-01-01T00:00:00.000Z",
    }


def test_an_order_is_answered_with_its_static_columns_once_and_all_others_in_its_lines() -> None:
    placed = datetime(2026, 11, 22)  # noqa: DTZ001
    head = {"order_id": uuid4(), "user_id": uuid4(), "status": "CONFIRMED", "order_total": Decimal(3)}
    reached = {"CONFIRMED": placed + timedelta(seconds=1), "PENDING": placed}
    lines = tuple(
        OrderRow(line=number, quantity=number, unit_price=Decimal(1), total=Decimal(number), reached=reached, **head)
        for number in (1, 2)
    )

    answered = as_json(ORDER, Order(lines))

    assert answered["total"] == "3.00"
    assert [line["total"] for line in answered["lines"]] == ["1.00", "2.00"]
    assert set(answered["lines"][0]) == {"product_id", "sku", "name", "quantity", "unit_price", "total"}
    assert [change["status"] for change in answered["history"]] == ["PENDING", "CONFIRMED"]
    assert not {"reached", "version", "settled", "line", "change_id"} & set(answered)


def test_a_page_names_its_collection() -> None:
    page = Page([product()], "abc")

    answered = as_json(page_of("P", "products", PRODUCT), page)

    assert (len(answered["products"]), answered["next"]) == (1, "abc")


@given(
    st.builds(
        product,
        name=st.text(),
        price=st.decimals(0, 10**9, places=2),
        category=st.none() | st.text(),
        created_at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)),  # noqa: DTZ001
    )
)
def test_the_compiled_serialiser_answers_what_flask_restx_would_marshal(thing: Product) -> None:
    marshalled = json.dumps(marshal(thing, PRODUCT.model), default=str)

    assert as_json(PRODUCT, thing) == json.loads(marshalled)


def test_a_new_product_reads_as_values_of_the_columns() -> None:
    read = PRODUCT_NEW.read({"sku": "A", "name": "B", "price": "29.9", "description": None})

    assert read == {"sku": "A", "name": "B", "price": Decimal("29.90"), "description": None}


@pytest.mark.parametrize(("given_price", "price"), [(29, "29.00"), (Decimal("29.99"), "29.99"), ("-0.00", "0.00")])
def test_a_price_is_read_exactly_from_a_number_or_a_string(given_price: Any, price: str) -> None:
    assert str(PRODUCT_CHANGE.read({"price": given_price})["price"]) == price


@pytest.mark.parametrize(
    "wrong",
    [
        *("29,99", " 1", "1e2", "NaN", "", "1_000", "٣", "1.999", "-1", "1" * 30),
        *(-1, 10**30, Decimal("0.001"), Decimal("1E+99"), True, None, [], {}),
    ],
)
def test_a_price_that_is_no_amount_of_money_is_refused(wrong: Any) -> None:
    with pytest.raises(RequestInvalid) as error:
        PRODUCT_CHANGE.read({"price": wrong})
    assert list(fields_of(error)) == ["price"]


def test_every_wrong_field_is_named_at_once_also_inside_lists() -> None:
    with pytest.raises(RequestInvalid) as error:
        ORDER_NEW.read(
            {"items": [{"product_id": str(uuid4()), "quantity": 1}, {"product_id": "x", "quantity": 0, "y": 1}]}
        )

    assert set(fields_of(error)) == {"user_id", "items[1].product_id", "items[1].quantity", "items[1].y"}


def test_a_list_that_is_too_long_is_refused_as_such_without_looking_at_its_items() -> None:
    with pytest.raises(RequestInvalid) as error:
        ORDER_NEW.read({"user_id": str(uuid4()), "items": [{}] * 101})

    assert fields_of(error) == {"items": "must have at most 100 items"}


def test_a_column_that_is_set_on_creation_only_cannot_be_changed() -> None:
    with pytest.raises(RequestInvalid) as error:
        PRODUCT_CHANGE.read({"sku": "B"})
    assert list(fields_of(error)) == ["sku"]


def test_a_change_names_at_least_one_field() -> None:
    with pytest.raises(RequestInvalid) as error:
        PRODUCT_CHANGE.read({})
    assert fields_of(error) == {"body": "must name at least one field"}
