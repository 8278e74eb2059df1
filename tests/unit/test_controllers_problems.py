"""Every error has the one shape, a code that is documented, and tells nothing of the inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from store_manager import errors
from store_manager.controllers.problems import PROBLEM_TYPES, describe_as_markdown
from store_manager.errors import (
    DatabaseUnavailable,
    FieldError,
    OutcomeUnknown,
    ReferenceInvalid,
    SchemaBehind,
    SettingError,
    StockShort,
    StoreError,
)
from store_manager.services import orders, products

if TYPE_CHECKING:
    from collections.abc import Iterator


ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def kinds_of(root: type[StoreError]) -> Iterator[type[StoreError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds_of(kind)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(products, "get", fail)
    monkeypatch.setattr(orders, "place", fail)


def test_every_error_of_the_store_has_a_status_and_a_code_of_its_own() -> None:
    kinds = [kind for kind in kinds_of(StoreError) if kind.__module__ == errors.__name__ and kind is not SettingError]

    assert {kind.code for kind in kinds} <= set(PROBLEM_TYPES)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_the_reference_of_codes_is_what_the_code_says() -> None:
    reference = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"

    assert reference.read_text(encoding="utf-8") == describe_as_markdown()


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES))
def test_the_type_of_a_problem_leads_to_its_explanation(client: Any, code: str) -> None:
    response = client.get(f"/problems/{code}")

    assert (response.status_code, response.json["status"]) == (200, PROBLEM_TYPES[code].status)


def test_a_problem_says_what_it_is_and_by_which_id_it_is_found_in_the_logs(client: Any) -> None:
    response = client.get("/products/x", headers={"X-Request-ID": "my-id.1"})

    assert response.mimetype == "application/problem+json"
    assert response.json == {
        "type": "/problems/REQUEST_INVALID",
        "title": "The request is not valid",
        "status": 400,
        "detail": "1 field is not valid",
        "code": "REQUEST_INVALID",
        "errors": [{"param": "product_id", "message": "must be a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e"}],
        "request_id": "my-id.1",
    }


def test_an_address_that_does_not_exist_is_a_problem_that_suggests_nothing(client: Any) -> None:
    response = client.get("/product")

    assert (response.status_code, response.json["code"]) == (404, "ROUTE_NOT_FOUND")
    assert response.mimetype == "application/problem+json"
    assert "/products" not in response.text


def test_a_method_that_an_address_does_not_know_is_405_and_names_those_it_knows(client: Any) -> None:
    response = client.put("/products")

    assert (response.status_code, response.json["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_a_resource_that_does_not_exist_is_404_with_its_own_code(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, errors.ProductNotFound("There is no such product.", product_id=ID))

    response = client.get(f"/products/{ID}")

    assert (response.status_code, response.json["code"], response.json["product_id"]) == (404, "PRODUCT_NOT_FOUND", ID)


def test_a_short_order_is_409_and_names_each_short_line(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"line": 0, "product_id": ID, "requested": 3, "available": 1}]
    failing(monkeypatch, StockShort("There is less.", lines=lines))

    response = client.post("/orders", json={"user_id": ID, "items": [{"product_id": ID, "quantity": 3}]})

    assert (response.status_code, response.json["code"], response.json["lines"]) == (409, "STOCK_SHORT", lines)


def test_a_reference_that_is_wrong_is_422_and_named(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ReferenceInvalid("It is not there.", [FieldError("user_id", "names no user")]))

    response = client.post("/orders", json={"user_id": ID, "items": [{"product_id": ID, "quantity": 3}]})

    assert (response.status_code, response.json["errors"]) == (
        422,
        [{"param": "user_id", "message": "names no user"}],
    )


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), SchemaBehind("behind"), errors.Contended("busy")])
def test_a_database_that_does_not_serve_is_503_and_says_when_to_come_back(
    client: Any, monkeypatch: pytest.MonkeyPatch, error: StoreError
) -> None:
    failing(monkeypatch, error)

    response = client.get(f"/products/{ID}")

    assert (response.status_code, response.json["code"]) == (503, error.code)
    assert int(response.headers["Retry-After"]) > 0


def test_an_unknown_outcome_is_503_and_says_where_to_look(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, OutcomeUnknown("Nobody knows.", location=f"/orders/{ID}"))

    response = client.post("/orders", json={"user_id": ID, "items": [{"product_id": ID, "quantity": 3}]})

    assert (response.status_code, response.json["code"]) == (503, "OUTCOME_UNKNOWN")
    assert response.json["location"] == response.headers["Location"] == f"/orders/{ID}"
    assert int(response.headers["Retry-After"]) > 0


def test_a_failure_that_nobody_expected_is_logged_once_and_kept_from_callers(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ZeroDivisionError("the secret inside"))

    with capture_logs() as logged:
        response = client.get(f"/products/{ID}")

    assert (response.status_code, response.json["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in response.text
    assert [event["event"] for event in logged] == ["request_failed", "request"]


def test_details_never_hide_the_code_or_the_status(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, errors.Conflict("No.", status="PAID", type="x"))

    response = client.get(f"/products/{ID}")

    assert (response.json["status"], response.json["type"]) == (409, "/problems/CONFLICT")
