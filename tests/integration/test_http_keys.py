"""Idempotency keys over HTTP: what is sent again finds its first outcome, and nothing happens twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import shops

from store_manager.app import create_app
from store_manager.dao import orders as order_rows
from store_manager.dao import products as product_rows
from store_manager.services import claims, clocks, recovery, reservations

if TYPE_CHECKING:
    from flask import Flask

    from store_manager.database.connections import Database
    from store_manager.settings import Settings

REPLAYED = "Idempotency-Replayed"


@pytest.fixture(scope="module")
def app(settings: Settings, database: Database) -> Flask:
    return create_app(settings, database)


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


class CrashError(Exception):
    """The process dies here."""


def crash(*_: object, **__: object) -> None:
    raise CrashError


def order_body(quantity: int = 1, on_hand: int = 5) -> dict[str, Any]:
    product, user = shops.new_product(on_hand), shops.new_user()
    items = [{"product_id": str(product.product_id), "quantity": quantity}]
    return {"user_id": str(user.user_id), "items": items}


def reserved(client: Any, body: dict[str, Any]) -> int:
    stock = client.get(f"/stocks/{body['items'][0]['product_id']}").json
    return int(stock["reserved"])


def let_the_lease_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clocks.now
    monkeypatch.setattr(clocks, "now", lambda: now() + timedelta(minutes=1))


def test_an_order_sent_again_is_the_same_order(client: Any, key: dict[str, str]) -> None:
    body = order_body(2)
    first = client.post("/orders", json=body, headers=key)
    again = client.post("/orders", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json
    assert (first.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")
    assert reserved(client, body) == 2


def test_a_rejected_order_sent_again_is_told_the_same_although_stock_has_come(client: Any, key: dict[str, str]) -> None:
    body = order_body(9)
    first = client.post("/orders", json=body, headers=key)
    client.put(f"/stocks/{body['items'][0]['product_id']}", json={"quantity": 100})
    again = client.post("/orders", json=body, headers=key)
    assert (first.status_code, again.status_code) == (409, 409)
    assert again.json["lines"] == first.json["lines"]
    assert (first.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")
    assert reserved(client, body) == 0


@pytest.mark.parametrize("path", ["/orders", "/products", "/users", "/stocks"])
def test_a_key_of_another_request_is_refused(client: Any, key: dict[str, str], path: str) -> None:
    bodies: dict[str, list[dict[str, Any]]] = {
        "/orders": [order_body(), order_body()],
        "/products": [{"sku": shops.new_key(), "name": "A", "price": 1} for _ in range(2)],
        "/users": [{"name": "A", "email": f"{shops.new_key()}@example.ca"} for _ in range(2)],
        "/stocks": [{"product_id": str(shops.new_product().product_id), "quantity": 5} for _ in range(2)],
    }
    first, other = bodies[path]
    assert client.post(path, json=first, headers=key).status_code == 201
    refused = client.post(path, json=other, headers=key)
    assert (refused.status_code, refused.json["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_a_product_and_a_user_sent_again_are_the_same(client: Any, key: dict[str, str]) -> None:
    for path, body in (
        ("/products", {"sku": shops.new_key(), "name": "A", "price": "1.50"}),
        ("/users", {"name": "A", "email": f"{shops.new_key()}@example.ca"}),
    ):
        first = client.post(path, json=body, headers=key)
        again = client.post(path, json=body, headers=key)
        assert (again.status_code, again.json, again.headers[REPLAYED]) == (201, first.json, "true")


def test_a_refused_product_sent_again_is_refused_again(client: Any, key: dict[str, str]) -> None:
    taken = shops.new_product()
    body = {"sku": taken.sku, "name": "A", "price": 1}
    refused = [client.post("/products", json=body, headers=key) for _ in range(2)]
    assert [one.json["code"] for one in refused] == ["SKU_TAKEN", "SKU_TAKEN"]
    assert [one.headers.get(REPLAYED) for one in refused] == [None, "true"]


def test_a_rejected_order_sent_again_first_gives_back_what_the_first_call_left_reserved(
    client: Any, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body, short = order_body(3), order_body(9)
    body["items"] += short["items"]

    def die(*_: object) -> None:
        raise RuntimeError("planted: the process dies here")

    with monkeypatch.context() as planted:
        planted.setattr(reservations, "release", die)
        assert client.post("/orders", json=body, headers=key).status_code == 500
    assert reserved(client, body) == 3
    again = client.post("/orders", json=body, headers=key)
    assert (again.status_code, again.json["code"]) == (409, "STOCK_SHORT")
    assert reserved(client, body) == 0


def test_an_adjustment_and_a_count_sent_again_move_nothing_twice(client: Any, key: dict[str, str]) -> None:
    product_id = shops.new_product().product_id
    count = {"product_id": str(product_id), "quantity": 5}
    first, again = (client.post("/stocks", json=count, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code, again.headers[REPLAYED]) == (201, 201, "true")
    adjustment = {"delta": -2, "reason": "DAMAGED"}
    path = f"/stocks/{product_id}/adjustments"
    first, again = (client.post(path, json=adjustment, headers=key) for _ in range(2))
    assert (first.json, again.headers[REPLAYED]) == (again.json, "true")
    assert client.get(f"/stocks/{product_id}").json["quantity"] == 3


def test_an_adjustment_sent_many_times_at_once_moves_once(app: Flask, key: dict[str, str]) -> None:
    product_id = shops.new_product(10).product_id

    def adjust(_: int) -> Any:
        answer: Any = app.test_client().post(
            f"/stocks/{product_id}/adjustments", json={"delta": -1, "reason": "LOST"}, headers=key
        )
        return answer.json

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(adjust, range(8)))
    assert len({answer["movement_id"] for answer in answers}) == 1
    stock: Any = app.test_client().get(f"/stocks/{product_id}")
    assert stock.json["quantity"] == 9


def test_of_one_order_sent_many_times_at_once_there_is_one(app: Flask, key: dict[str, str]) -> None:
    body = order_body(1)

    def place(_: int) -> tuple[int, str]:
        answer: Any = app.test_client().post("/orders", json=body, headers=key)
        return answer.status_code, answer.json.get("code", answer.json.get("order_id"))

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(place, range(8)))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({text for status, text in answers if status == 201}) == 1
    assert {text for status, text in answers if status == 409} <= {"IDEMPOTENCY_KEY_IN_USE"}
    assert reserved(app.test_client(), body) == 1


def test_payment_and_fulfilment_sent_again_are_told_the_same(client: Any, key: dict[str, str]) -> None:
    order_id = client.post("/orders", json=order_body()).json["order_id"]
    for step, status in (("payment", "PAID"), ("fulfilment", "FULFILLED")):
        first, again = (client.post(f"/orders/{order_id}/{step}", headers=key) for _ in range(2))
        assert (first.json["status"], again.json, again.headers[REPLAYED]) == (status, first.json, "true")
    other = client.post(f"/orders/{order_id}/payment", json={"method": "CASH"}, headers=key)
    assert other.json["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_while_the_first_call_is_at_work_the_next_is_told_to_wait_and_later_takes_over(
    client: Any, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = order_body(3)
    with monkeypatch.context() as planted:
        planted.setattr(reservations, "reserve", crash)
        assert client.post("/orders", json=body, headers=key).status_code == 500
    waiting = client.post("/orders", json=body, headers=key)
    assert (waiting.status_code, waiting.json["code"]) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert int(waiting.headers["Retry-After"]) > 0
    let_the_lease_run_out(monkeypatch)
    assert client.post("/orders", json=body, headers=key).status_code == 201
    assert reserved(client, body) == 3


def test_a_product_whose_creation_died_is_finished_under_its_key(
    client: Any, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"sku": shops.new_key(), "name": "A", "price": 1}
    with monkeypatch.context() as planted:
        planted.setattr(claims, "take", crash)
        assert client.post("/products", json=body, headers=key).status_code == 500
    assert client.post("/products", json=body, headers=key).json["code"] == "IDEMPOTENCY_KEY_IN_USE"
    let_the_lease_run_out(monkeypatch)
    assert client.post("/products", json=body, headers=key).status_code == 201


def test_an_order_that_recovery_gave_up_is_told_so_for_ever(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((order_rows, "insert"), (reservations, "reserve")):
        body, own = order_body(3), {"Idempotency-Key": uuid4().hex}
        with monkeypatch.context() as planted:
            planted.setattr(module, name, crash)
            assert client.post("/orders", json=body, headers=own).status_code == 500
        list(recovery.recover(recovery.limits_of(-1, 0)))
        spent = client.post("/orders", json=body, headers=own)
        assert (spent.status_code, spent.json["code"]) == (409, "IDEMPOTENCY_KEY_SPENT")
        assert reserved(client, body) == 0


@pytest.mark.parametrize("wrong", ["", " ", "a b", "x" * 256, "é"])
def test_a_key_that_is_none_is_refused_by_name(client: Any, wrong: str) -> None:
    refused = client.post("/users", json={"name": "A", "email": "a@example.ca"}, headers={"Idempotency-Key": wrong})
    assert (refused.status_code, refused.json["errors"][0]["param"]) == (400, "Idempotency-Key")


def test_the_id_of_what_is_made_follows_from_the_key(client: Any, key: dict[str, str]) -> None:
    made = client.post("/products", json={"sku": shops.new_key(), "name": "A", "price": 1}, headers=key).json
    product = product_rows.find(UUID(made["product_id"]))
    assert product is not None
    assert UUID(made["product_id"]).version == 5
