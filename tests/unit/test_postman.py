"""The Postman collection is held against Swagger; that it runs is shown by newman in `.ci/run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from store_manager.controllers import apis

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTMAN = Path(__file__).parents[2] / "docs" / "postman"


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    app = Flask("swagger")
    api = apis.register(app)
    with app.test_request_context():
        document: dict[str, Any] = api.__schema__
    return document


@pytest.fixture(scope="module")
def requests() -> list[dict[str, Any]]:
    collection = json.loads((POSTMAN / "store-manager.postman_collection.json").read_text(encoding="utf-8"))
    return [item["request"] for folder in collection["item"] for item in folder["item"]]


def call_of(request: dict[str, Any]) -> tuple[str, str]:
    parts = ("{" + part[1:] + "}" if part.startswith(":") else part for part in request["url"]["path"])
    return request["method"].lower(), "/" + "/".join(parts)


def calls_of(swagger: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, operations in swagger["paths"].items():
        yield from ((method, path) for method, operation in operations.items() if "operationId" in operation)


def test_every_call_of_swagger_is_in_the_collection_and_no_other(
    swagger: dict[str, Any], requests: list[dict[str, Any]]
) -> None:
    assert {call_of(request) for request in requests} == set(calls_of(swagger))


def test_every_request_names_the_parameters_that_swagger_has_for_its_query(
    swagger: dict[str, Any], requests: list[dict[str, Any]]
) -> None:
    for request in requests:
        method, path = call_of(request)
        documented = {
            one["name"] for one in swagger["paths"][path][method].get("parameters", ()) if one["in"] == "query"
        }
        assert {one["key"] for one in request["url"].get("query", ())} == documented, request["url"]["raw"]


def test_the_environment_names_the_address_that_every_request_uses(requests: list[dict[str, Any]]) -> None:
    environment = json.loads((POSTMAN / "store-manager.postman_environment.json").read_text(encoding="utf-8"))
    assert [one["key"] for one in environment["values"]] == ["baseUrl"]
    assert {request["url"]["host"][0] for request in requests} == {"{{baseUrl}}"}
