"""The whole way of a request, from HTTP to Cassandra and back."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from store_manager.app import create_app

if TYPE_CHECKING:
    from flask import Flask

    from store_manager.database.connections import Database
    from store_manager.settings import Settings


@pytest.fixture(scope="module")
def store_app(settings: Settings, database: Database) -> Flask:
    return create_app(settings, database)


@pytest.fixture
def client(store_app: Flask) -> Any:
    return store_app.test_client()


def made(response: Any) -> Any:
    assert response.status_code == 201, response.text
    return response.json


def new_product(client: Any, quantity: int | None = None, **values: Any) -> str:
    body = {"sku": uuid4().hex, "name": "Gamer mouse", "price": 29.99} | values
    product_id: str = made(client.post("/products", json=body))["product_id"]
    if quantity is not None:
        made(client.post("/stocks", json={"product_id": product_id, "quantity": quantity}))
    return product_id


def new_user(client: Any) -> str:
    body = {"name": "Jane Doe", "email": f"{uuid4().hex}@example.ca"}
    return str(made(client.post("/users", json=body))["user_id"])


def buy(client: Any, user_id: str, *items: tuple[str, int]) -> Any:
    lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]
    return client.post("/orders", json={"user_id": user_id, "items": lines})


def stock_of(client: Any, product_id: str) -> tuple[int, int, int]:
    stock = client.get(f"/stocks/{product_id}").json
    return stock["quantity"], stock["reserved"], stock["available"]


def pages_of(client: Any, path: str, collection: str) -> list[Any]:
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{path}{'&' if '?' in path else '?'}limit=2{f'&cursor={cursor}' if cursor else ''}").json
        assert len(page[collection]) <= 2
        found += page[collection]
        cursor = page["next"]
    return found


def test_a_product_is_created_found_changed_and_retired(client: Any) -> None:
    sku = uuid4().hex
    created = client.post("/products", json={"sku": sku, "name": "Mouse", "price": "10.5", "category": sku})
    address = created.headers["Location"]

    read = client.get(address)
    assert (read.json, read.headers["ETag"]) == (created.json, created.headers["ETag"])
    assert read.json["price"] == "10.50"
    assert [one["sku"] for one in client.get(f"/products?category={sku}").json["products"]] == [sku]

    changed = client.patch(address, json={"price": 11, "category": None}, headers={"If-Match": read.headers["ETag"]})
    assert (changed.json["price"], changed.json["category"]) == ("11.00", None)
    assert changed.headers["ETag"] != read.headers["ETag"]
    assert client.get(f"/products?sku={sku}").json["products"] == [changed.json]

    assert client.delete(address, headers={"If-Match": changed.headers["ETag"]}).status_code == 204
    assert client.get(address).json["code"] == "PRODUCT_NOT_FOUND"
    assert client.get(f"/products?sku={sku}").json == {"products": [], "next": None}
    made(client.post("/products", json={"sku": sku, "name": "Mouse", "price": 1}))


def test_a_sku_or_an_email_that_is_taken_is_409(client: Any) -> None:
    sku, email = uuid4().hex, f"{uuid4().hex}@example.ca"
    made(client.post("/products", json={"sku": sku, "name": "A", "price": 1}))
    made(client.post("/users", json={"name": "J", "email": email}))

    again = client.post("/products", json={"sku": sku, "name": "B", "price": 1})
    double = client.post("/users", json={"name": "K", "email": email.upper()})

    assert (again.status_code, again.json["code"]) == (409, "SKU_TAKEN")
    assert (double.status_code, double.json["code"]) == (409, "EMAIL_TAKEN")


@pytest.mark.parametrize("tag", ['"99"', 'W/"1"', '"x"'])
def test_a_change_under_a_version_that_is_not_the_current_one_is_412(client: Any, tag: str) -> None:
    product_id, user_id = new_product(client, 1), new_user(client)
    order = made(buy(client, user_id, (product_id, 1)))
    headers = {"If-Match": tag}

    refused = [
        client.patch(f"/products/{product_id}", json={"name": "B"}, headers=headers),
        client.delete(f"/products/{product_id}", headers=headers),
        client.put(f"/stocks/{product_id}", json={"quantity": 5}, headers=headers),
        client.patch(f"/users/{user_id}", json={"name": "B"}, headers=headers),
        client.delete(f"/users/{user_id}", headers=headers),
        client.post(f"/orders/{order['order_id']}/payment", headers=headers),
        client.delete(f"/orders/{order['order_id']}", headers=headers),
    ]

    assert [(one.status_code, one.json["code"]) for one in refused] == [(412, "VERSION_STALE")] * 7
    assert stock_of(client, product_id) == (1, 1, 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/products/{}", None, "PRODUCT_NOT_FOUND"),
        ("PATCH", "/products/{}", {"name": "A"}, "PRODUCT_NOT_FOUND"),
        ("DELETE", "/products/{}", None, "PRODUCT_NOT_FOUND"),
        ("GET", "/stocks/{}", None, "STOCK_NOT_FOUND"),
        ("PUT", "/stocks/{}", {"quantity": 1}, "PRODUCT_NOT_FOUND"),
        ("POST", "/stocks/{}/adjustments", {"delta": 1, "reason": "FOUND"}, "PRODUCT_NOT_FOUND"),
        ("GET", "/stocks/{}/movements", None, "STOCK_NOT_FOUND"),
        ("GET", "/orders/{}", None, "ORDER_NOT_FOUND"),
        ("DELETE", "/orders/{}", None, "ORDER_NOT_FOUND"),
        ("POST", "/orders/{}/payment", None, "ORDER_NOT_FOUND"),
        ("POST", "/orders/{}/fulfilment", None, "ORDER_NOT_FOUND"),
        ("GET", "/users/{}", None, "USER_NOT_FOUND"),
        ("PATCH", "/users/{}", {"name": "A"}, "USER_NOT_FOUND"),
        ("DELETE", "/users/{}", None, "USER_NOT_FOUND"),
    ],
)
def test_what_the_path_names_and_does_not_exist_is_404(
    client: Any, method: str, path: str, body: Any, code: str
) -> None:
    response = client.open(path.format(uuid4()), method=method, json=body)

    assert (response.status_code, response.json["code"]) == (404, code)


def test_what_the_body_names_and_does_not_exist_is_422_and_all_of_it_is_named(client: Any) -> None:
    product_id = new_product(client, 1)

    order = buy(client, str(uuid4()), (product_id, 1), (str(uuid4()), 1))
    count = client.post("/stocks", json={"product_id": str(uuid4()), "quantity": 1})

    assert (order.status_code, count.status_code) == (422, 422)
    assert {error["param"] for error in order.json["errors"]} == {"user_id", "items[1].product_id"}
    assert {error["param"] for error in count.json["errors"]} == {"product_id"}


def test_stock_is_counted_adjusted_and_its_ledger_adds_up(client: Any) -> None:
    product_id = new_product(client)
    first = client.post("/stocks", json={"product_id": product_id, "quantity": 10})
    again = client.post("/stocks", json={"product_id": product_id, "quantity": 12})
    moved = client.post(f"/stocks/{product_id}/adjustments", json={"delta": -2, "reason": "DAMAGED", "note": "wet"})
    below = client.post(f"/stocks/{product_id}/adjustments", json={"delta": -11, "reason": "LOST"})
    counted = client.put(f"/stocks/{product_id}", json={"quantity": 7})

    assert [one.status_code for one in (first, again, moved, below, counted)] == [201, 200, 201, 409, 200]
    assert (moved.json["delta"], moved.json["reason"], moved.json["note"]) == (-2, "DAMAGED", "wet")
    assert (counted.json["quantity"], counted.json["available"]) == (7, 7)
    movements = pages_of(client, f"/stocks/{product_id}/movements", "movements")
    assert [movement["version"] for movement in movements] == [4, 3, 2, 1]
    assert sum(movement["delta"] for movement in movements) == 7


def test_an_order_is_placed_paid_and_fulfilled_and_stock_follows(client: Any) -> None:
    mouse, keys, user_id = new_product(client, 5), new_product(client, 5, price="10.5"), new_user(client)

    placed = buy(client, user_id, (mouse, 2), (keys, 1), (mouse, 1))
    address = placed.headers["Location"]
    assert (placed.json["status"], placed.json["total"], len(placed.json["lines"])) == ("CONFIRMED", "100.47", 3)
    assert stock_of(client, mouse) == (5, 3, 2)
    assert client.put(f"/stocks/{mouse}", json={"quantity": 2}).json["code"] == "COUNT_BELOW_RESERVED"

    assert client.post(f"{address}/fulfilment").json["code"] == "ORDER_STATE_CONFLICT"
    paid = client.post(f"{address}/payment", json={"method": "CARD", "reference": "r-1"})
    assert (paid.json["status"], paid.json["payment_method"]) == ("PAID", "CARD")
    fulfilled = client.post(f"{address}/fulfilment", headers={"If-Match": paid.headers["ETag"]})
    assert fulfilled.json["status"] == "FULFILLED"
    assert [change["status"] for change in fulfilled.json["history"]] == ["PENDING", "CONFIRMED", "PAID", "FULFILLED"]
    assert (stock_of(client, mouse), stock_of(client, keys)) == ((2, 0, 2), (4, 0, 4))
    assert client.delete(address).json["code"] == "ORDER_STATE_CONFLICT"
    assert client.get(address).json == fulfilled.json


def test_an_order_that_is_cancelled_brings_its_stock_back_once(client: Any) -> None:
    product_id, user_id = new_product(client, 5), new_user(client)
    address = buy(client, user_id, (product_id, 2)).headers["Location"]

    cancelled = [client.delete(address) for _ in range(3)]

    assert [(one.status_code, one.json["status"]) for one in cancelled] == [(200, "CANCELLED")] * 3
    assert stock_of(client, product_id) == (5, 0, 5)


def test_an_order_beyond_the_stock_is_409_names_every_short_line_and_reserves_nothing(client: Any) -> None:
    plenty, few, none, user_id = new_product(client, 9), new_product(client, 1), new_product(client), new_user(client)

    refused = buy(client, user_id, (plenty, 1), (few, 2), (none, 1))

    assert (refused.status_code, refused.json["code"]) == (409, "STOCK_SHORT")
    assert refused.json["lines"] == [
        {"line": 1, "product_id": few, "requested": 2, "available": 1},
        {"line": 2, "product_id": none, "requested": 1, "available": 0},
    ]
    assert stock_of(client, plenty) == (9, 0, 9)


def test_of_twenty_callers_who_buy_two_units_two_are_served_and_eighteen_are_refused(store_app: Flask) -> None:
    caller = store_app.test_client()
    product_id, user_id = new_product(caller, 2), new_user(caller)

    with ThreadPoolExecutor(20) as pool:
        bought = list(pool.map(lambda _: buy(store_app.test_client(), user_id, (product_id, 1)), range(20)))

    assert Counter(one.status_code for one in bought) == {201: 2, 409: 18}
    assert stock_of(caller, product_id) == (2, 2, 0)


def test_orders_are_listed_by_user_by_day_and_by_status(client: Any) -> None:
    product_id, user_id = new_product(client, 9), new_user(client)
    placed = [made(buy(client, user_id, (product_id, 1)))["order_id"] for _ in range(3)]
    client.post(f"/orders/{placed[1]}/payment")
    today = datetime.now(UTC).date()

    assert [one["order_id"] for one in pages_of(client, f"/orders?user_id={user_id}", "orders")] == placed[::-1]
    assert [one["order_id"] for one in pages_of(client, f"/orders?user_id={user_id}&status=PAID", "orders")] == [
        placed[1]
    ]
    assert set(placed) <= {one["order_id"] for one in pages_of(client, f"/orders?day={today}", "orders")}
    refused = client.get(f"/orders?user_id={user_id}&day={today}")
    assert (refused.status_code, [error["param"] for error in refused.json["errors"]]) == (400, ["day"])


def test_products_and_users_are_listed_newest_first_each_once(client: Any) -> None:
    category = uuid4().hex
    product_ids = [new_product(client, category=category, name=f"{category} {number}") for number in range(5)]
    user_ids = [new_user(client) for _ in range(3)]

    listed = [one["product_id"] for one in pages_of(client, f"/products?category={category}", "products")]
    searched = [one["product_id"] for one in pages_of(client, f"/products?search={category.upper()}", "products")]
    users = [one["user_id"] for one in pages_of(client, "/users", "users")]

    assert listed == searched == product_ids[::-1]
    assert [one for one in users if one in user_ids] == user_ids[::-1]
    assert len(users) == len(set(users))


@pytest.mark.parametrize("cursor", ["x", "%F0%9F%90%AD", "null", "../..", "a" * 500, "Zm9v"])
@pytest.mark.parametrize(
    "path", ["/products", "/users", "/stocks", "/orders", "/stocks/reports/low-stock", "/stocks/{}/movements"]
)
def test_a_cursor_that_was_never_given_is_400_and_named(client: Any, path: str, cursor: str) -> None:
    if "{}" in path:
        path = path.format(new_product(client, 1))

    response = client.get(f"{path}?cursor={cursor}")

    assert (response.status_code, response.json["code"]) == (400, "REQUEST_INVALID")
    assert [error["param"] for error in response.json["errors"]] == ["cursor"]


def test_the_reports_count_what_was_sold(client: Any) -> None:
    product_id, user_id = new_product(client, 10**6, price="0.01"), new_user(client)
    made(buy(client, user_id, (product_id, 10**5)))
    cancelled = made(buy(client, user_id, (product_id, 10**5)))["order_id"]
    client.delete(f"/orders/{cancelled}")

    best = client.get("/orders/reports/best-sellers?limit=1").json["best_sellers"]
    spenders = client.get("/orders/reports/highest-spenders?limit=100").json["highest_spenders"]
    overview = pages_of(client, "/stocks/reports/overview-stocks", "stocks")
    low = client.get("/stocks/reports/low-stock?below=1&limit=100").json["stocks"]

    assert (best[0]["product_id"], best[0]["quantity"], best[0]["revenue"]) == (product_id, 10**5, "1000.00")
    assert [(one["orders"], one["total"]) for one in spenders if one["user_id"] == user_id] == [(1, "1000.00")]
    assert [one["reserved"] for one in overview if one["product_id"] == product_id] == [10**5]
    assert product_id not in {one["product_id"] for one in low}


@pytest.mark.parametrize("query", ["from=2026-11-22&to=2026-11-01", "from=2020-01-01&to=2026-01-01"])
def test_a_report_over_no_day_or_too_many_is_400(client: Any, query: str) -> None:
    response = client.get(f"/orders/reports/best-sellers?{query}")

    assert (response.status_code, [error["param"] for error in response.json["errors"]]) == (400, ["to"])


def test_a_user_who_is_deleted_is_forgotten_while_the_orders_stay(client: Any) -> None:
    product_id, user_id = new_product(client, 1), new_user(client)
    address = buy(client, user_id, (product_id, 1)).headers["Location"]

    assert client.delete(f"/users/{user_id}").status_code == 204
    assert client.get(f"/users/{user_id}").status_code == 404
    assert client.get(address).json["user_id"] == user_id
    assert buy(client, user_id, (product_id, 1)).status_code == 422


def test_text_of_any_script_and_the_widest_values_come_back_as_they_were_given(client: Any) -> None:
    name = "Souris \N{MOUSE FACE} 鼠标 فأرة \n\t\"'\\"
    body = {"sku": uuid4().hex, "name": name, "price": "1000000000", "description": "x" * 4000}

    product = made(client.post("/products", json=body))

    assert client.get(f"/products/{product['product_id']}").json == product
    assert (product["name"], product["price"], len(product["description"])) == (name, "1000000000.00", 4000)


def test_the_service_is_ready_and_tells_its_nodes(client: Any) -> None:
    ready, health, old = client.get("/readyz"), client.get("/health"), client.get("/health-check")

    assert (ready.status_code, health.status_code, old.status_code) == (200, 200, 200)
    assert health.json["schema_agreed"] is True
    assert all(node["up"] and abs(node["clock_skew_s"]) < 5 for node in health.json["nodes"])
    assert health.json.keys() == old.json.keys()


def test_figures_count_requests_by_route_and_their_statements(client: Any) -> None:
    client.get(f"/products/{uuid4()}")

    text = client.get("/metrics").text

    labels = 'method="GET",route="/products/<product_id>"'
    assert f'store_http_request_duration_seconds_count{{{labels},status="404"}}' in text
    assert f"store_cql_statements_total{{{labels}}}" in text


def test_no_request_has_prepared_a_statement_that_was_not_prepared_before(client: Any, database: Database) -> None:
    before = list(database.session.prepared_late)  # other tests ask for what no DAO does
    product_id, user_id = new_product(client, 5), new_user(client)
    address = buy(client, user_id, (product_id, 1)).headers["Location"]
    client.delete(address)

    assert list(database.session.prepared_late) == before
