"""What Swagger documents is complete, and the page for people works without any other host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from store_manager.services import samples

if TYPE_CHECKING:
    from flask import Flask

WHO_ANSWERED = {"Coordinator-Node", "Coordinator-Attempts", "Consistency-Level"}
METHODS = {"get", "post", "put", "patch", "delete"}
WITHOUT_DATABASE = {
    "GET /health": "Health",
    "GET /health-check": "Health",
    "GET /readyz": "Readiness",
    "GET /livez": "",
    "GET /metrics": "",
    "GET /problems/{code}": "",
}
"""What answers without the database, and the form of its 503, if it has one."""


@pytest.fixture(scope="module")
def swagger(store_app: Flask) -> Any:
    return store_app.test_client().get("/swagger.json").json


@pytest.fixture(scope="module")
def operations(swagger: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": {**operation, "all_parameters": parameters_of(item, operation)}
        for path, item in swagger["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def parameters_of(item: Any, operation: Any) -> list[Any]:
    return [*item.get("parameters", []), *operation.get("parameters", [])]


def test_every_call_of_the_table_is_documented(operations: dict[str, Any]) -> None:
    resources = ("products", "users", "stocks", "orders")
    assert set(operations) == {
        *(f"{method} /{name}" for name in resources for method in ("GET", "POST")),
        *(f"{method} /products/{{product_id}}" for method in ("GET", "PATCH", "DELETE")),
        *(f"{method} /users/{{user_id}}" for method in ("GET", "PATCH", "DELETE")),
        *(f"{method} /stocks/{{product_id}}" for method in ("GET", "PUT")),
        *("POST /stocks/{product_id}/adjustments", "GET /stocks/{product_id}/movements"),
        *("GET /stocks/reports/overview-stocks", "GET /stocks/reports/low-stock"),
        *("GET /orders/{order_id}", "DELETE /orders/{order_id}"),
        *("POST /orders/{order_id}/payment", "POST /orders/{order_id}/fulfilment"),
        *("GET /orders/reports/best-sellers", "GET /orders/reports/highest-spenders"),
        *("GET /cluster", "GET /cluster/trace/{product_id}"),
        *(f"GET /{name}" for name in ("health", "health-check", "livez", "readyz", "metrics")),
        "GET /problems/{code}",
    }


def test_every_operation_has_a_name_of_its_own_a_summary_and_answers_that_say_what_they_are(
    operations: dict[str, Any],
) -> None:
    assert len({operation["operationId"] for operation in operations.values()}) == len(operations)
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["tags"], name
        media_type = "text/plain" if name == "GET /metrics" else "application/json"
        assert operation["produces"] == [media_type, "application/problem+json"], name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)


def test_every_answer_of_an_error_is_the_problem_and_every_answer_of_success_has_its_representation(
    operations: dict[str, Any],
) -> None:
    for name, operation in operations.items():
        assert {"400", "500"} <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            schema = response.get("schema", {}).get("$ref")
            if status < "400":
                assert (schema is None) == (status == "204" or name == "GET /metrics"), (name, status)
            elif not (status == "503" and name in WITHOUT_DATABASE):
                assert schema == "#/definitions/Problem", (name, status)


def test_only_what_asks_the_database_answers_503_unless_it_tells_in_its_own_form_that_nothing_can_be_answered(
    operations: dict[str, Any],
) -> None:
    for name, operation in operations.items():
        found = operation["responses"].get("503", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        assert found == WITHOUT_DATABASE.get(name, "Problem"), name


def test_every_operation_with_a_body_documents_it_and_what_is_refused_of_it(operations: dict[str, Any]) -> None:
    for name, operation in operations.items():
        bodies = [one for one in operation["all_parameters"] if one["in"] == "body"]
        expected = name.split()[0] in ("POST", "PUT", "PATCH") and "/fulfilment" not in name
        assert len(bodies) == expected, name
        if bodies:
            assert {"413", "415"} <= set(operation["responses"]), name
            assert bodies[0]["schema"]["$ref"].startswith("#/definitions/"), name
            assert bodies[0]["required"] == ("/payment" not in name), name


def test_every_parameter_says_its_type_its_place_and_its_meaning(operations: dict[str, Any]) -> None:
    for name, operation in operations.items():
        parameters = operation["all_parameters"]
        assert len({(one["in"], one["name"]) for one in parameters}) == len(parameters), name
        for parameter in parameters:
            if parameter["in"] != "body":
                assert {"type", "description", "in", "name"} <= set(parameter), (name, parameter["name"])
            if parameter["name"].endswith("_id") and parameter["in"] == "path":
                assert (parameter["format"], parameter["required"], "x-example" in parameter) == ("uuid", True, True)


def test_the_page_for_people_sends_no_parameter_that_nobody_filled_in_but_defaults(operations: dict[str, Any]) -> None:
    for name, operation in operations.items():
        for parameter in operation["all_parameters"]:
            filled_in = {"example", "x-example"} & set(parameter)
            assert not filled_in or parameter["required"], (name, parameter["name"])


def test_every_list_bounds_its_limit(operations: dict[str, Any]) -> None:
    limits = [one for operation in operations.values() for one in operation["all_parameters"] if one["name"] == "limit"]

    assert len(limits) == 9
    assert {(one["minimum"], one["maximum"], one["default"]) for one in limits} == {(1, 100, 20)}


def test_every_change_of_a_resource_with_versions_takes_if_match_and_documents_412(operations: dict[str, Any]) -> None:
    conditional = {
        name
        for name, operation in operations.items()
        if "If-Match" in {one["name"] for one in operation["all_parameters"]}
    }

    assert conditional == {
        *(f"{method} /products/{{product_id}}" for method in ("PATCH", "DELETE")),
        *(f"{method} /users/{{user_id}}" for method in ("PATCH", "DELETE")),
        "PUT /stocks/{product_id}",
        *("DELETE /orders/{order_id}", "POST /orders/{order_id}/payment", "POST /orders/{order_id}/fulfilment"),
    }
    assert all("412" in operations[name]["responses"] for name in conditional)


def test_creating_answers_document_their_headers(operations: dict[str, Any]) -> None:
    for name in ("POST /products", "POST /orders", "POST /users", "POST /stocks"):
        assert set(operations[name]["responses"]["201"]["headers"]) == {
            "ETag",
            "Location",
            "Idempotency-Replayed",
            *WHO_ANSWERED,
        }, name


def test_every_get_of_what_is_stored_takes_a_level_and_says_who_answered(operations: dict[str, Any]) -> None:
    for name, operation in operations.items():
        if operation["tags"] in (["health"], ["problems"], ["cluster"]):
            continue
        levels = [one for one in operation["all_parameters"] if one["name"] == "Consistency-Level"]
        assert len(levels) == name.startswith("GET "), name
        for status, response in operation["responses"].items():
            if status < "300":
                stale = {"Possibly-Stale"} if levels else set()
                assert WHO_ANSWERED | stale <= set(response["headers"]), name


def test_every_post_takes_an_idempotency_key(operations: dict[str, Any]) -> None:
    for name, operation in operations.items():
        headers = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "header"}
        assert ("Idempotency-Key" in headers) == name.startswith("POST "), name


def test_every_reference_leads_somewhere_and_every_definition_describes_its_fields(swagger: Any) -> None:
    referred = set(re.findall(r"#/definitions/(\w+)", str(swagger)))

    assert referred == set(swagger["definitions"])
    for name, definition in swagger["definitions"].items():
        assert definition["type"] == "object"
        for field, schema in definition["properties"].items():
            assert {"description", "$ref"} & set(schema), (name, field)


def test_a_body_that_is_accepted_has_an_example_for_each_field_that_is_required(swagger: Any) -> None:
    for name in ("ProductNew", "UserNew", "StockNew", "StockCount", "Adjustment", "OrderItem"):
        definition = swagger["definitions"][name]
        assert definition["additionalProperties"] is False
        for field in definition["required"]:
            assert "example" in definition["properties"][field], (name, field)


def test_what_a_deleted_user_leaves_is_documented_for_a_call_that_finds_it_again(swagger: Any) -> None:
    shown, given = (swagger["definitions"][name]["properties"] for name in ("User", "UserNew"))
    for field in ("name", "email"):
        assert shown[field]["x-nullable"] is True
        assert "x-nullable" not in given[field]


def test_what_the_page_for_people_offers_to_create_is_not_taken_by_the_sample(swagger: Any) -> None:
    definitions = swagger["definitions"]
    offered = {
        definitions["ProductNew"]["properties"]["sku"]["example"],
        definitions["UserNew"]["properties"]["email"]["example"],
    }
    assert offered.isdisjoint({samples.USER["email"], *(values["sku"] for values, _ in samples.PRODUCTS)})


def test_the_page_for_people_loads_nothing_from_elsewhere_and_all_that_it_names_is_there(client: Any) -> None:
    page = client.get("/")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert (page.status_code, page.mimetype, len(loaded)) == (200, "text/html", 6)
    for address in loaded:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "<script>" not in page.text
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/swagger.json", "/livez", "/nowhere", "/swaggerui/swagger-ui.css"])
def test_every_answer_carries_its_id_and_the_headers_that_protect_browsers(client: Any, path: str) -> None:
    headers = client.get(path).headers

    assert re.fullmatch(r"[0-9a-f]{32}", headers["X-Request-ID"])
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("given", ["a b", "x" * 65, "ä", "<script>", ""])
def test_an_id_of_the_caller_that_is_no_plain_word_is_replaced(client: Any, given: str) -> None:
    answered = client.get("/livez", headers={"X-Request-ID": given.encode("latin-1").decode("latin-1")})

    assert re.fullmatch(r"[0-9a-f]{32}", answered.headers["X-Request-ID"])
