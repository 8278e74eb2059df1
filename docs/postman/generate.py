"""Makes the Postman collection and its environment out of Swagger: `make postman`.

The requests themselves, with their texts and example bodies, come from Swagger by openapi-to-postmanv2. What Swagger
cannot say stands here: the order in which they run, what one leaves for the next, and what each must answer.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask

from store_manager.controllers import apis

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
CONVERTER = HERE / "node_modules" / ".bin" / "openapi2postmanv2"
COLLECTION = HERE / "store-manager.postman_collection.json"
ENVIRONMENT = HERE / "store-manager.postman_environment.json"
BASE_URL = "http://127.0.0.1:5000"
NOBODY = "00000000-0000-4000-8000-000000000000"

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One request of the collection: which operation of Swagger, what it is given, what it must answer.

    `fields` replaces parts of Swagger's example body, `body` all of it. `saves` names the variables that later steps
    use, each with the expression that finds it in `answer`. `checks` are conditions on `answer`. `if_match`, `key`
    and `level` are the values of the headers of `OPTIONAL_HEADERS`, which are switched off without one.
    """

    operation: str
    status: int
    name: str = ""
    fields: Json = field(default_factory=dict)
    body: Json | None = None
    query: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    if_match: str = ""
    key: str = ""
    level: str = ""
    saves: dict[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()


OPTIONAL_HEADERS = {"If-Match": "if_match", "Idempotency-Key": "key", "Consistency-Level": "level"}

THE_PRODUCT = {"product_id": "{{product_id}}"}
THE_ORDER = {"order_id": "{{order_id}}"}
THE_USER = {"user_id": "{{user_id}}"}
TWO_UNITS = {"user_id": "{{user_id}}", "items": [{"product_id": "{{product_id}}", "quantity": 2}]}

FOLDERS: dict[str, tuple[Step, ...]] = {
    "1 Is the store there?": (
        Step("get_liveness", 200, checks=("answer.status === 'alive'",)),
        Step("get_readiness", 200),
        Step("get_health", 200, checks=("answer.nodes.length > 0",)),
        Step("get_health_check", 200),
        Step("get_metrics", 200),
        Step("get_cluster", 200, checks=("answer.nodes.length > 0", "answer.ranges.length > 0")),
    ),
    "2 Products": (
        Step(
            "create_product",
            201,
            fields={"sku": "MOUSE-{{$guid}}"},
            saves={
                "product_id": "answer.product_id",
                "product_sku": "answer.sku",
                "product_etag": "pm.response.headers.get('ETag')",
            },
            checks=("answer.price === '29.99'",),
        ),
        Step(
            "create_product",
            409,
            name="Create a product with a SKU that is taken",
            fields={"sku": "{{product_sku}}"},
            checks=("answer.code === 'SKU_TAKEN'",),
        ),
        Step(
            "create_product",
            400,
            name="Create a product without name and price",
            body={"sku": "MOUSE-{{$guid}}"},
            checks=("answer.errors.map((error) => error.param).sort().join() === 'name,price'",),
        ),
        Step("list_products", 200, query={"limit": "20"}, checks=("answer.products.length > 0",)),
        Step(
            "list_products",
            200,
            name="Find a product by its SKU",
            query={"sku": "{{product_sku}}"},
            checks=("answer.products.length === 1",),
        ),
        Step(
            "get_product", 200, path=THE_PRODUCT, checks=("answer.sku === pm.collectionVariables.get('product_sku')",)
        ),
        Step(
            "change_product",
            200,
            path=THE_PRODUCT,
            body={"price": "24.99"},
            if_match="{{product_etag}}",
            saves={"changed_etag": "pm.response.headers.get('ETag')"},
            checks=("answer.price === '24.99'",),
        ),
        Step(
            "change_product",
            412,
            name="Change a product that was changed meanwhile",
            path=THE_PRODUCT,
            body={"price": "19.99"},
            if_match="{{product_etag}}",
            checks=("answer.code === 'VERSION_STALE'",),
        ),
    ),
    "3 Stock": (
        Step(
            "set_stock",
            201,
            fields={"product_id": "{{product_id}}", "quantity": 10},
            checks=("answer.available === 10",),
        ),
        Step("count_stock", 200, path=THE_PRODUCT, fields={"quantity": 12}, checks=("answer.quantity === 12",)),
        Step(
            "adjust_stock",
            201,
            path=THE_PRODUCT,
            fields={"delta": -2, "reason": "DAMAGED", "note": "Fell off the shelf"},
            checks=("answer.delta === -2",),
        ),
        Step("get_stock", 200, path=THE_PRODUCT, checks=("answer.available === 10",)),
        Step(
            "get_stock",
            200,
            name="Read the stock at another level",
            path=THE_PRODUCT,
            level="QUORUM",
            checks=("pm.response.headers.get('Consistency-Level') === 'QUORUM'",),
        ),
        Step("list_movements", 200, path=THE_PRODUCT, checks=("answer.movements.length > 0",)),
        Step("list_stocks", 200, query={"limit": "20"}, checks=("answer.stocks.length > 0",)),
    ),
    "4 Where the product lives": (
        Step(
            "trace_product",
            200,
            path=THE_PRODUCT,
            query={"level": "ONE"},
            checks=("answer.outcome === 'ANSWERED'", "answer.replicas.length > 0"),
        ),
        Step(
            "trace_product",
            200,
            name="Follow a conditional write that changes nothing",
            path=THE_PRODUCT,
            query={"operation": "WRITE"},
            checks=("answer.outcome === 'ANSWERED'",),
        ),
        Step(
            "get_product",
            200,
            name="Read the product after that write: it has the version that it had",
            path=THE_PRODUCT,
            checks=("pm.response.headers.get('ETag') === pm.collectionVariables.get('changed_etag')",),
        ),
    ),
    "5 Users": (
        Step(
            "create_user",
            201,
            fields={"email": "jane.{{$guid}}@example.ca"},
            saves={"user_id": "answer.user_id"},
        ),
        Step("get_user", 200, path=THE_USER, checks=("answer.name === 'Jane Doe'",)),
        Step("change_user", 200, path=THE_USER, body={"name": "Jane Roe"}, checks=("answer.name === 'Jane Roe'",)),
        Step("list_users", 200, query={"limit": "20"}, checks=("answer.users.length > 0",)),
    ),
    "6 Orders": (
        Step(
            "place_order",
            201,
            body=TWO_UNITS,
            key="{{product_id}}",
            saves={"order_id": "answer.order_id"},
            checks=("answer.status === 'CONFIRMED'", "answer.total === '49.98'"),
        ),
        Step(
            "place_order",
            201,
            name="Send the same order again, as after a lost answer",
            body=TWO_UNITS,
            key="{{product_id}}",
            checks=(
                "answer.order_id === pm.collectionVariables.get('order_id')",
                "pm.response.headers.get('Idempotency-Replayed') === 'true'",
            ),
        ),
        Step(
            "place_order",
            409,
            name="Place an order beyond the stock",
            body={"user_id": "{{user_id}}", "items": [{"product_id": "{{product_id}}", "quantity": 9}]},
            checks=("answer.code === 'STOCK_SHORT'", "answer.lines[0].available === 8"),
        ),
        Step(
            "place_order",
            422,
            name="Place an order of a product that does not exist",
            body={"user_id": "{{user_id}}", "items": [{"product_id": NOBODY, "quantity": 1}]},
            checks=("answer.code === 'REFERENCE_INVALID'",),
        ),
        Step("get_order", 200, path=THE_ORDER, checks=("answer.lines[0].quantity === 2",)),
        Step(
            "list_orders",
            200,
            query={"user_id": "{{user_id}}", "status": "CONFIRMED"},
            checks=("answer.orders.length === 1",),
        ),
        Step(
            "pay_order",
            200,
            path=THE_ORDER,
            fields={"method": "CARD", "reference": "receipt 4711"},
            checks=("answer.status === 'PAID'",),
        ),
        Step("fulfil_order", 200, path=THE_ORDER, checks=("answer.status === 'FULFILLED'",)),
        Step(
            "cancel_order",
            409,
            name="Cancel an order that is fulfilled",
            path=THE_ORDER,
            checks=("answer.code === 'ORDER_STATE_CONFLICT'",),
        ),
        Step("place_order", 201, name="Place another order", body=TWO_UNITS, saves={"order_id": "answer.order_id"}),
        Step("cancel_order", 200, path=THE_ORDER, checks=("answer.status === 'CANCELLED'",)),
        Step(
            "get_stock",
            200,
            name="See that only what was handed over is gone",
            path=THE_PRODUCT,
            checks=("answer.quantity === 8", "answer.reserved === 0"),
        ),
    ),
    "7 Reports": (
        Step("report_stocks", 200, query={"limit": "20"}, checks=("answer.stocks.length > 0",)),
        Step("report_low_stock", 200, query={"below": "9"}),
        Step("report_best_sellers", 200, query={"limit": "20"}, checks=("answer.best_sellers.length > 0",)),
        Step("report_highest_spenders", 200, query={"limit": "20"}, checks=("answer.highest_spenders.length > 0",)),
    ),
    "8 Tidying up": (
        Step("delete_user", 204, path=THE_USER),
        Step("retire_product", 204, path=THE_PRODUCT),
        Step("get_product", 404, name="Look for the retired product", path=THE_PRODUCT),
        Step("explain_problem", 200, path={"code": "PRODUCT_NOT_FOUND"}, checks=("answer.status === 404",)),
    ),
}


def main() -> None:
    """Write the collection and the environment."""
    swagger = read_swagger()
    requests = dict(_find_requests(_convert(swagger), swagger))
    if missing := requests.keys() - {step.operation for steps in FOLDERS.values() for step in steps}:
        sys.exit(f"These calls have no step in {Path(__file__).name} yet: {', '.join(sorted(missing))}")
    folders = [
        {"name": name, "item": [_make_item(step, requests[step.operation]) for step in steps]}
        for name, steps in FOLDERS.items()
    ]
    _write(COLLECTION, _collection(swagger["info"], folders))
    _write(ENVIRONMENT, _environment())


def read_swagger() -> Json:
    """Return the Swagger document of the API; no database is needed for it."""
    app = Flask("swagger")
    api = apis.register(app)
    with app.test_request_context():
        document: Json = api.__schema__
    return document


def _convert(swagger: Json) -> Json:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "swagger.json"), Path(directory, "collection.json")
        source.write_text(json.dumps(swagger), encoding="utf-8")
        command = [
            str(CONVERTER),
            "-s",
            str(source),
            "-o",
            str(target),
            "-O",
            "folderStrategy=Tags,parametersResolution=Example",
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own converter
        if not target.exists():
            sys.exit(f"openapi-to-postmanv2 made no collection: {told.stdout}{told.stderr}")
        converted: Json = json.loads(target.read_text(encoding="utf-8"))
    return converted


def _find_requests(item: Json, swagger: Json) -> Iterator[tuple[str, Json]]:
    """Give every request that the converter made, with the operation of Swagger that it stands for."""
    if "request" in item:
        request = item["request"]
        parts = ("{" + part[1:] + "}" if part.startswith(":") else part for part in request["url"]["path"])
        yield swagger["paths"]["/" + "/".join(parts)][request["method"].lower()]["operationId"], request
    for inner in item.get("item", ()):
        yield from _find_requests(inner, swagger)


def _make_item(step: Step, converted: Json) -> Json:
    request = copy.deepcopy(converted)
    name = step.name or request["name"]
    made: Json = {"name": name, "request": {"method": request["method"], "header": _headers(step, request)}}
    if body := _body(step, request):
        made["request"]["body"] = body
    made["request"]["url"] = _url(step, request["url"])
    made["request"]["description"] = request["description"].get("content", "")
    made["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": _script(step)}}]
    return made


def _headers(step: Step, request: Json) -> list[Json]:
    headers = []
    for header in request["header"]:
        made = {"key": header["key"], "value": header["value"]}
        if header["key"] in OPTIONAL_HEADERS:
            made["value"] = getattr(step, OPTIONAL_HEADERS[header["key"]])
            made["disabled"] = not made["value"]
        headers.append(made)
    return headers


def _body(step: Step, request: Json) -> Json:
    example = request.get("body", {}).get("raw")
    if example is None:
        return {}
    body = step.body if step.body is not None else {**json.loads(example), **step.fields}
    return {"mode": "raw", "raw": json.dumps(body, indent=2), "options": {"raw": {"language": "json"}}}


def _url(step: Step, url: Json) -> Json:
    path = "/".join(url["path"])
    made: Json = {"raw": "{{baseUrl}}/" + path, "host": url["host"], "path": url["path"]}
    if url["query"]:
        made["query"] = [_query_parameter(step, parameter) for parameter in url["query"]]
        used = "&".join(f"{one['key']}={one['value']}" for one in made["query"] if not one["disabled"])
        made["raw"] += f"?{used}" if used else ""
    if url["variable"]:
        made["variable"] = [
            {"key": one["key"], "value": step.path[one["key"]], "description": one["description"]["content"]}
            for one in url["variable"]
        ]
    return made


def _query_parameter(step: Step, parameter: Json) -> Json:
    key = parameter["key"]
    text = parameter["description"]["content"]
    return {"key": key, "value": step.query.get(key, ""), "description": text, "disabled": key not in step.query}


def _script(step: Step) -> list[str]:
    lines = [f"pm.test('answers {step.status}', () => pm.response.to.have.status({step.status}));"]
    if step.saves or step.checks:
        lines.append("const answer = pm.response.json();")
    lines += [f"pm.collectionVariables.set('{name}', {expression});" for name, expression in step.saves.items()]
    lines += [f"pm.test({json.dumps(check)}, () => pm.expect({check}).to.be.true);" for check in step.checks]
    return lines


def _collection(info: Json, folders: list[Json]) -> Json:
    variables = sorted({name for steps in FOLDERS.values() for step in steps for name in step.saves})
    use = "Run the folders from top to bottom: each step uses what those before it left. Made by `make postman`."
    return {
        "info": {
            "name": info["title"],
            "description": f"{info['description']}\n{use}\n",
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "item": folders,
        "variable": [{"key": name, "value": ""} for name in variables],
    }


def _environment() -> Json:
    values = [{"key": "baseUrl", "value": BASE_URL, "type": "default", "enabled": True}]
    return {"name": "Store Manager on this machine", "values": values, "_postman_variable_scope": "environment"}


def _write(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
