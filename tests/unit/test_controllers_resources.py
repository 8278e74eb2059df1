"""Each call reaches its service with the right values, and what the service returns is answered as agreed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, create_autospec
from uuid import UUID

import pytest

from store_manager.models import OrderRow, Product, Stock, StockMovement, User
from store_manager.models.orders import CONFIRMED, Order
from store_manager.services import orders, products, reports, stocks, users
from store_manager.services.orders import Item
from store_manager.services.pages import Page
from store_manager.services.reports import BestSeller, Spender
from store_manager.services.stocks import StockLine

if TYPE_CHECKING:
    from types import ModuleType


ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
NOW = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - the driver answers naive UTC
PRODUCT = Product(
    product_id=ID, sku="A", name="B", price=Decimal("29.99"), currency="CAD", created_at=NOW, updated_at=NOW, version=3
)
STOCK = Stock(product_id=ID, on_hand=56, reserved=2, version=17, updated_at=NOW)
MOVEMENT = StockMovement(product_id=ID, movement_id=ID, sequence=18, delta=-2, reason="DAMAGED", created_at=NOW)
USER = User(user_id=ID, name="Jane Doe", email="jd@example.ca", created_at=NOW, updated_at=NOW, version=5)
ROW = OrderRow(
    order_id=ID,
    line=0,
    user_id=ID,
    status=CONFIRMED,
    order_total=Decimal("59.98"),
    currency="CAD",
    created_at=NOW,
    updated_at=NOW,
    reached={CONFIRMED: NOW},
    version=2,
    product_id=ID,
    sku="A",
    name="B",
    quantity=2,
    unit_price=Decimal("29.99"),
    total=Decimal("59.98"),
)
ORDER = Order((ROW,))


def serve(monkeypatch: pytest.MonkeyPatch, service: ModuleType, name: str, returned: Any) -> Mock:
    """Let a service's function return this, and remember how it was called."""
    function: Mock = create_autospec(getattr(service, name), return_value=returned)
    monkeypatch.setattr(service, name, function)
    return function


def test_creating_a_product_answers_201_with_its_address_and_its_version(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = serve(monkeypatch, products, "create", PRODUCT)

    response = client.post("/products", json={"sku": "A", "name": "B", "price": 29.99})

    assert (response.status_code, response.headers["Location"]) == (201, f"/products/{ID}")
    assert response.headers["ETag"] == '"3"'
    assert response.json["price"] == "29.99"
    create.assert_called_once_with({"sku": "A", "name": "B", "price": Decimal("29.99")}, "CAD", None)


def test_listing_products_passes_every_parameter_on_and_answers_a_page(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_page = serve(monkeypatch, products, "find_page", Page([PRODUCT], "abc"))

    response = client.get("/products?limit=7&cursor=c&search=%C3%A9&category=k")

    assert (response.status_code, response.json["next"]) == (200, "abc")
    assert response.json["products"][0]["product_id"] == str(ID)
    find_page.assert_called_once_with(limit=7, cursor="c", search="é", sku=None, category="k")


def test_a_list_has_twenty_entries_unless_the_caller_says_otherwise(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_page = serve(monkeypatch, users, "find_page", Page([USER], None))

    assert client.get("/users").json["next"] is None
    find_page.assert_called_once_with(limit=20, cursor=None)


@pytest.mark.parametrize(("header", "version"), [(None, None), ("*", None), ('"17"', 17), ('W/"17"', -1), ('"x"', -1)])
def test_a_precondition_reaches_the_service_and_a_tag_that_is_none_of_ours_never_matches(
    client: Any, monkeypatch: pytest.MonkeyPatch, header: str | None, version: int | None
) -> None:
    change = serve(monkeypatch, products, "change", PRODUCT)

    response = client.patch(f"/products/{ID}", json={"name": "C"}, headers={"If-Match": header} if header else {})

    assert response.status_code == 200
    change.assert_called_once_with(ID, {"name": "C"}, version)


@pytest.mark.parametrize(
    ("service", "name", "path"), [(products, "retire", f"/products/{ID}"), (users, "delete", f"/users/{ID}")]
)
def test_removing_answers_204_and_nothing(
    client: Any, monkeypatch: pytest.MonkeyPatch, service: ModuleType, name: str, path: str
) -> None:
    remove = serve(monkeypatch, service, name, None)

    response = client.delete(path, headers={"If-Match": '"3"'})

    assert (response.status_code, response.data, "Content-Type" in response.headers) == (204, b"", False)
    remove.assert_called_once_with(ID, 3)


@pytest.mark.parametrize(("created", "status"), [(True, 201), (False, 200)])
def test_setting_a_stock_answers_201_for_the_first_count_and_200_later(
    client: Any, monkeypatch: pytest.MonkeyPatch, *, created: bool, status: int
) -> None:
    count = serve(monkeypatch, stocks, "count", (STOCK, created))

    response = client.post("/stocks", json={"product_id": str(ID), "quantity": 56})

    assert (response.status_code, response.json["available"], response.headers["ETag"]) == (status, 54, '"17"')
    assert response.headers.get("Location") == (f"/stocks/{ID}" if created else None)
    count.assert_called_once_with(ID, 56, None, None)


def test_counting_and_adjusting_a_stock_reach_the_service(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = serve(monkeypatch, stocks, "count", (STOCK, False))
    adjust = serve(monkeypatch, stocks, "adjust", MOVEMENT)

    counted = client.put(f"/stocks/{ID}", json={"quantity": 0}, headers={"If-Match": '"16"'})
    adjusted = client.post(f"/stocks/{ID}/adjustments", json={"delta": -2, "reason": "DAMAGED"})

    assert (counted.status_code, adjusted.status_code, adjusted.json["version"]) == (200, 201, 18)
    count.assert_called_once_with(ID, 0, 16)
    adjust.assert_called_once_with(ID, {"delta": -2, "reason": "DAMAGED"}, None)


def test_the_reports_of_stocks_show_products_with_their_stock(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, stocks, "overview", Page([StockLine(PRODUCT, STOCK)], None))
    find_low = serve(monkeypatch, stocks, "find_low", Page([StockLine(PRODUCT, STOCK)], "n"))

    overview = client.get("/stocks/reports/overview-stocks").json["stocks"]
    low = client.get("/stocks/reports/low-stock?below=100").json

    assert overview == low["stocks"]
    assert (overview[0]["sku"], overview[0]["quantity"]) == ("A", 56)
    find_low.assert_called_once_with(below=100, limit=20, cursor=None)


def test_placing_an_order_answers_201_with_its_lines_its_address_and_its_version(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = serve(monkeypatch, orders, "place", ORDER)

    response = client.post("/orders", json={"user_id": str(ID), "items": [{"product_id": str(ID), "quantity": 2}]})

    assert (response.status_code, response.headers["Location"]) == (201, f"/orders/{ID}")
    assert response.headers["ETag"] == '"2"'
    assert (response.json["total"], response.json["lines"][0]["total"]) == ("59.98", "59.98")
    assert response.json["history"] == [{"status": "CONFIRMED", "at": "2026-11-22T12:00:00.000Z"}]
    place.assert_called_once_with(ID, [Item(ID, 2)], "CAD", None)


def test_the_filters_of_orders_reach_the_service_as_what_they_are(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find_page = serve(monkeypatch, orders, "find_page", Page([ORDER], None))

    assert client.get(f"/orders?user_id={ID}&day=2026-11-22&status=PAID").status_code == 200
    find_page.assert_called_once_with(user_id=ID, day=date(2026, 11, 22), status="PAID", limit=20, cursor=None)


@pytest.mark.parametrize(
    ("options", "method", "reference"),
    [
        ({}, None, None),
        ({"data": "", "content_type": "application/json"}, None, None),
        ({"json": {}}, None, None),
        ({"json": {"method": "CARD", "reference": "r-1"}}, "CARD", "r-1"),
    ],
)
def test_the_body_of_a_payment_is_optional(
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    method: str | None,
    reference: str | None,
) -> None:
    pay = serve(monkeypatch, orders, "pay", ORDER)

    assert client.post(f"/orders/{ID}/payment", **options).status_code == 200
    pay.assert_called_once_with(ID, method, reference, None, None)


def test_fulfilling_and_cancelling_answer_the_order(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fulfil, cancel = serve(monkeypatch, orders, "fulfil", ORDER), serve(monkeypatch, orders, "cancel", ORDER)

    fulfilled = client.post(f"/orders/{ID}/fulfilment")
    cancelled = client.delete(f"/orders/{ID}", headers={"If-Match": '"2"'})

    assert fulfilled.json == cancelled.json
    assert fulfilled.json["order_id"] == str(ID)
    fulfil.assert_called_once_with(ID, None, None)
    cancel.assert_called_once_with(ID, 2)


def test_a_report_covers_the_days_that_it_is_asked_for(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = serve(monkeypatch, reports, "find_best_sellers", [BestSeller(ID, "A", "B", 2, Decimal("59.98"))])

    answered = client.get("/orders/reports/best-sellers?from=2026-11-01&to=2026-11-22&limit=5").json

    assert answered == {
        "from": "2026-11-01",
        "to": "2026-11-22",
        "currency": "CAD",
        "best_sellers": [{"product_id": str(ID), "sku": "A", "name": "B", "quantity": 2, "revenue": "59.98"}],
    }
    find.assert_called_once_with(start=date(2026, 11, 1), end=date(2026, 11, 22), limit=5)


def test_a_report_covers_the_last_thirty_days_unless_it_is_told_otherwise(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = serve(monkeypatch, reports, "find_highest_spenders", [Spender(ID, None, 1, Decimal(1))])

    answered = client.get("/orders/reports/highest-spenders").json

    assert answered["highest_spenders"] == [{"user_id": str(ID), "name": None, "orders": 1, "total": "1.00"}]
    called = find.call_args.kwargs
    assert called["end"] - called["start"] == timedelta(days=29)
    assert abs(datetime.now(UTC).date() - called["end"]) <= timedelta(days=1)


def test_a_report_on_the_first_days_of_the_calendar_does_not_fail(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = serve(monkeypatch, reports, "find_best_sellers", [])

    assert client.get("/orders/reports/best-sellers?to=0001-01-02").status_code == 200
    assert find.call_args.kwargs["start"] == date.min


@pytest.mark.parametrize(
    ("service", "name", "path", "returned", "etag"),
    [
        (products, "get", f"/products/{ID}", PRODUCT, '"3"'),
        (stocks, "get", f"/stocks/{ID}", STOCK, '"17"'),
        (orders, "get", f"/orders/{ID}", ORDER, '"2"'),
        (users, "get", f"/users/{ID}", USER, '"5"'),
    ],
)
def test_every_resource_is_read_with_its_version_and_never_cached(
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    service: ModuleType,
    name: str,
    path: str,
    returned: Any,
    etag: str,
) -> None:
    get = serve(monkeypatch, service, name, returned)

    response = client.get(path)

    assert (response.status_code, response.headers["ETag"]) == (200, etag)
    assert response.headers["Cache-Control"] == "no-store"
    assert client.head(path).headers["ETag"] == etag
    get.assert_called_with(ID)


def test_movements_and_stocks_are_listed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = serve(monkeypatch, stocks, "find_movements", Page([MOVEMENT], None))
    serve(monkeypatch, stocks, "find_page", Page([STOCK], None))

    assert client.get(f"/stocks/{ID}/movements?limit=1").json["movements"][0]["delta"] == -2
    assert client.get("/stocks").json["stocks"][0]["available"] == 54
    find.assert_called_once_with(ID, limit=1, cursor=None)


def test_users_are_created_and_changed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    create, change = serve(monkeypatch, users, "create", USER), serve(monkeypatch, users, "change", USER)

    created = client.post("/users", json={"name": "Jane Doe", "email": "jd@example.ca"})
    changed = client.patch(f"/users/{ID}", json={"name": "Jane"})

    assert (created.status_code, created.headers["Location"], changed.status_code) == (201, f"/users/{ID}", 200)
    assert set(created.json) == {"user_id", "name", "email", "created_at", "updated_at"}
    create.assert_called_once_with({"name": "Jane Doe", "email": "jd@example.ca"}, None)
    change.assert_called_once_with(ID, {"name": "Jane"}, None)
