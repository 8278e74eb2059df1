"""Whatever callers send is answered with a 4xx that names what is wrong, and no service is bothered with it."""

from __future__ import annotations

import inspect
import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store_manager.errors import Conflict
from store_manager.services import orders, products, reports, stocks, users

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["", "\0", "1e9", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "sku",
    "name",
    "price",
    "category",
    "description",
    "email",
    "product_id",
    "quantity",
    "delta",
    "reason",
    "note",
)

PRODUCT = {"sku": "A", "name": "B", "price": "1.00"}
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture(autouse=True)
def every_service_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Conflict("A service was asked.")

    for service in (orders, products, reports, stocks, users):
        for name, function in inspect.getmembers(service, inspect.isfunction):
            if function.__module__ == service.__name__:
                monkeypatch.setattr(service, name, refuse)


def params_of(response: Any) -> set[str]:
    assert response.status_code == 400, response.text
    assert response.mimetype == "application/problem+json"
    assert response.json["code"] == "REQUEST_INVALID"
    return {error["param"] for error in response.json["errors"]}


def post(client: Any, body: str | bytes, path: str = "/products") -> Any:
    return client.post(path, data=body, content_type="application/json")


@pytest.mark.parametrize(
    "body",
    [
        *(
            "",
            " ",
            "{",
            "nonsense",
            "{'sku': 1}",
            '{"sku": "A",}',
            "[1",
            '"',
            "{} {}",
            "\ufeff{}",
            b"\xff\xfe",
            b"\x00",
        ),
        *("null", "1", '"text"', "[]", "[{}]", "true", "NaN", "-Infinity"),
        "[" * 100_000,
        '{"sku":' * 5_000 + "1" + "}" * 5_000,
    ],
)
def test_a_body_that_is_no_json_object_is_named(client: Any, body: str | bytes) -> None:
    assert params_of(post(client, body)) == {"body"}


def test_a_body_that_is_nested_too_deeply_is_named_wherever_python_itself_gives_up(client: Any) -> None:
    for levels in (33, *range(850, 1000), 5_000, 100_000):
        inner = levels - 3
        body = '{"items": [{"product_id": ' + "[" * inner + "]" * inner + "}]}"
        assert params_of(post(client, body, "/orders")) == {"body"}, levels


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(
            ("price", text)
            for text in ("-1", "NaN", "Infinity", "1e30", "1e999999999", "1" + "0" * 30, '"1e3"', "true")
        ),
        *(
            ("price", text)
            for text in ("null", "[]", "{}", '"abc"', '""', "0.001", "1e-9999999999999999999999", "-0.01")
        ),
        ("price", "9" * 10_000),
        *(("name", text) for text in ("1", "null", '""', '"  "', '"a\\u0000b"', '"\\ud800"', "[]", f'"{"x" * 201}"')),
        *(("sku", text) for text in ('"\\u0000"', "{}", f'"{"x" * 65}"')),
        *(("category", text) for text in ("0", '""', '"\\u0000"')),
        *(("description", text) for text in ("0", f'"{"x" * 4001}"')),
        *((field, '"x"') for field in ("product_id", "currency", "state", "version", "created_at", "__class__")),
    ],
)
def test_a_wrong_field_of_a_product_is_named(client: Any, field: str, text: str) -> None:
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in PRODUCT.items() if name != field)

    assert params_of(post(client, f'{{"{field}": {text}{rest}}}')) == {field}


@pytest.mark.parametrize("given", [1, True, None, [], {}, "x"])
def test_what_is_no_id_is_told_what_an_id_looks_like(client: Any, given: Any) -> None:
    refused = client.post("/stocks", json={"product_id": given, "quantity": 1}).json["errors"]
    assert refused == [{"param": "product_id", "message": f"must be a UUID such as {ID}"}]


def test_all_missing_wrong_and_unknown_fields_are_named_at_once(client: Any) -> None:
    assert params_of(post(client, '{"price": -1, "x": 1, "y": 1}')) == {"sku", "name", "price", "x", "y"}


def test_what_is_wrong_in_path_query_headers_and_body_is_named_at_once(client: Any) -> None:
    changed = client.patch("/products/x?y=1", json={"price": -1}, headers={"If-Match": "17"})
    assert params_of(changed) == {"product_id", "y", "If-Match", "price"}

    paid = client.post("/orders/x/payment", json={"method": 1}, headers={"If-Match": "17", "Idempotency-Key": "a b"})
    assert params_of(paid) == {"order_id", "If-Match", "method", "Idempotency-Key"}


def test_a_field_that_is_given_twice_is_named(client: Any) -> None:
    assert params_of(post(client, '{"sku": "A", "sku": "B", "name": "C", "price": 1}')) == {"sku"}


def test_unknown_names_are_answered_shortened_and_printable(client: Any) -> None:
    names = params_of(post(client, json.dumps({**PRODUCT, "\ud800" * 1000: 1, "\0": 2})))

    assert names == {"\N{REPLACEMENT CHARACTER}" * 64, "\N{REPLACEMENT CHARACTER}"}


def test_a_body_with_thousands_of_wrong_fields_names_a_hundred(client: Any) -> None:
    body = json.dumps({f"field_{number}": 1 for number in range(50_000)})

    assert len(params_of(post(client, body))) == 100


@pytest.mark.parametrize(
    "quantity", ["0", "-1", "1.5", "2.0", '"2"', "null", "true", "NaN", "1e3", "1" + "0" * 12, "1" + "0" * 30, "9" * 99]
)
def test_a_wrong_quantity_of_an_order_is_named_with_its_line(client: Any, quantity: str) -> None:
    body = f'{{"user_id": "{ID}", "items": [{{"product_id": "{ID}", "quantity": {quantity}}}]}}'

    assert params_of(post(client, body, "/orders")) == {"items[0].quantity"}


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"user_id": ID, "items": []}, {"items"}),
        ({"user_id": ID, "items": {}}, {"items"}),
        ({"user_id": ID, "items": [1, None]}, {"items[0]", "items[1]"}),
        ({"user_id": ID, "items": [{"product_id": ID, "quantity": 1}] * 101}, {"items"}),
        ({"user_id": 1, "items": [{}]}, {"user_id", "items[0].product_id", "items[0].quantity"}),
        ({}, {"user_id", "items"}),
    ],
)
def test_a_wrong_order_is_refused(client: Any, body: Any, params: set[str]) -> None:
    assert params_of(client.post("/orders", json=body)) == params


@pytest.mark.parametrize(
    ("method", "path", "body", "params"),
    [
        ("POST", "/stocks", {"product_id": "x", "quantity": -1}, {"product_id", "quantity"}),
        ("POST", "/stocks", {"product_id": ID, "quantity": 10**9 + 1}, {"quantity"}),
        ("PUT", f"/stocks/{ID}", {"product_id": ID, "quantity": 1}, {"product_id"}),
        (
            "POST",
            f"/stocks/{ID}/adjustments",
            {"delta": 0.5, "reason": "BORED", "note": 1},
            {"delta", "reason", "note"},
        ),
        ("POST", f"/stocks/{ID}/adjustments", {}, {"delta", "reason"}),
        ("POST", "/users", {"name": "", "email": "nobody"}, {"name", "email"}),
        ("POST", "/users", {"name": "J", "email": "a@b.c", "user_id": ID}, {"user_id"}),
        ("PATCH", f"/users/{ID}", {"email": None}, {"email"}),
        ("PATCH", f"/users/{ID}", {}, {"body"}),
        ("PATCH", f"/products/{ID}", {"sku": "B"}, {"sku"}),
        ("PATCH", f"/products/{ID}", {"price": None}, {"price"}),
        ("POST", f"/orders/{ID}/payment", {"method": "", "x": 1}, {"method", "x"}),
    ],
)
def test_a_wrong_body_is_refused(client: Any, method: str, path: str, body: Any, params: set[str]) -> None:
    assert params_of(client.open(path, method=method, json=body)) == params


@pytest.mark.parametrize(
    "wrong", ["x", "%00", "0", "%20", ID[:-1], ID + "0", "{" + ID + "}", ID.replace("-", ""), "reports"]
)
@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        *((method, "/products/{}", "product_id") for method in ("GET", "PATCH", "DELETE")),
        *((method, "/stocks/{}", "product_id") for method in ("GET", "PUT")),
        ("POST", "/stocks/{}/adjustments", "product_id"),
        ("GET", "/stocks/{}/movements", "product_id"),
        *((method, "/orders/{}", "order_id") for method in ("GET", "DELETE")),
        *(("POST", f"/orders/{{}}/{step}", "order_id") for step in ("payment", "fulfilment")),
        *((method, "/users/{}", "user_id") for method in ("GET", "PATCH", "DELETE")),
    ],
)
def test_an_id_in_the_path_that_is_no_uuid_is_named(
    client: Any, method: str, path: str, param: str, wrong: str
) -> None:
    assert params_of(client.open(path.format(wrong), method=method)) == {param}


@pytest.mark.parametrize(
    ("query", "params"),
    [
        *(
            (f"limit={limit}", {"limit"})
            for limit in ("0", "-1", "101", "1000000000", "x", "1.5", "", "%00", "9" * 50, "٣")
        ),
        *((f"cursor={cursor}", {"cursor"}) for cursor in ("", "%00", "x" * 501)),
        ("search=", {"search"}),
        ("search=%00", {"search"}),
        ("sku=" + "x" * 65, {"sku"}),
        ("unknown=1", {"unknown"}),
        ("limit=1&limit=2", {"limit"}),
        ("limit=0&cursor=&x=1&y=2", {"limit", "cursor", "x", "y"}),
    ],
)
def test_wrong_parameters_of_a_list_are_all_named(client: Any, query: str, params: set[str]) -> None:
    assert params_of(client.get(f"/products?{query}")) == params


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/orders?user_id=x&day=2026-02-30&status=LOST", {"user_id", "day", "status"}),
        *(
            (f"/orders?day={day}", {"day"})
            for day in ("20261122", "2026-11-22T00:00:00Z", "0000-01-01", "", "yesterday")
        ),
        ("/orders/reports/best-sellers?from=x&to=y&limit=0&cursor=z", {"from", "to", "limit", "cursor"}),
        ("/orders/reports/highest-spenders?from=2026-13-01", {"from"}),
        ("/stocks/reports/low-stock?below=-1", {"below"}),
        ("/stocks/reports/low-stock?below=ten", {"below"}),
        ("/stocks/reports/overview-stocks?below=1", {"below"}),
        (f"/products/{ID}?x=1", {"x"}),
        ("/livez?x=1", {"x"}),
    ],
)
def test_wrong_parameters_are_named(client: Any, path: str, params: set[str]) -> None:
    assert params_of(client.get(path)) == params


@pytest.mark.parametrize("header", ["", " ", "17", '"17', '"1", "2"', "'17'", '"\n"', "**"])
def test_a_precondition_that_is_no_entity_tag_is_named(client: Any, header: str) -> None:
    if "\n" in header:
        header = '"\t"'

    assert params_of(client.delete(f"/products/{ID}", headers={"If-Match": header})) == {"If-Match"}


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", None]
)
def test_a_body_that_is_not_declared_as_json_is_415(client: Any, media_type: str | None) -> None:
    response = client.post("/products", data=json.dumps(PRODUCT), content_type=media_type)

    assert (response.status_code, response.json["code"]) == (415, "MEDIA_TYPE_UNSUPPORTED")


def test_a_body_that_is_too_large_is_413(client: Any) -> None:
    response = post(client, '{"name": "' + "x" * 1_000_001 + '"}')

    assert (response.status_code, response.json["code"]) == (413, "BODY_TOO_LARGE")


def test_a_body_that_is_sent_in_chunks_is_not_cut_but_refused_when_it_is_too_large(client: Any) -> None:
    response = client.post(
        "/products",
        input_stream=BytesIO(json.dumps(PRODUCT).encode().ljust(1_000_001)),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (response.status_code, response.json["code"]) == (413, "BODY_TOO_LARGE")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method_and_path=st.sampled_from(
        [
            *(("POST", path) for path in ("/products", "/stocks", "/orders", "/users")),
            *(("POST", path) for path in (f"/stocks/{ID}/adjustments", f"/orders/{ID}/payment")),
            *(("PATCH", path) for path in (f"/products/{ID}", f"/users/{ID}")),
            ("PUT", f"/stocks/{ID}"),
        ]
    ),
    body=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1) | JSON,
)
def test_no_body_whatever_makes_the_service_fail(client: Any, method_and_path: tuple[str, str], body: Any) -> None:
    method, path = method_and_path

    response = client.open(path, method=method, data=json.dumps(body), content_type="application/json")

    assert response.status_code in (400, 409), response.text
    json.loads(response.data)
