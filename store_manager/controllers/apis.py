"""The API as a whole: its namespaces, its Swagger document and its page for people."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response, render_template
from flask_restx import Api

from store_manager import __version__
from store_manager.controllers import clusters, explanations, health, orders, products, reports, ring, stocks, users

DESCRIPTION = """\
Products, stock, orders and users of a store on Apache Cassandra.

A first round: create a product, set its stock, create a user, place an order. Errors are `application/problem+json`
with a stable `code`. Ids are UUIDs, times are UTC, amounts of money are decimal strings.

[Watch your data on the ring](/ring): which nodes hold a product, and which of them answer.
"""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page for people may load: its own files only. Swagger UI writes styles of its own into the page."""

NAMESPACES = (
    products.ns,
    stocks.ns,
    orders.ns,
    reports.ns,
    users.ns,
    clusters.ns,
    health.ns,
    explanations.ns,
)
"""In the order in which Swagger shows them."""


class StoreApi(Api):
    """A Flask-RESTX API whose errors are left to the application's one handler."""

    def error_router(self, original_handler: Any, e: Exception) -> Any:
        """Let Flask handle every error: Flask-RESTX would replace bodies and suggest routes."""
        return original_handler(e)


def register(app: Flask) -> StoreApi:
    """Put every namespace, the Swagger document and the page for people on this application."""
    app.config["RESTX_MASK_SWAGGER"] = False
    api = StoreApi(app, version=__version__, title="Store Manager", description=DESCRIPTION, doc="/")
    api.error_handlers.clear()  # those of Flask-RESTX's own parsers, which nothing here uses
    api.representation("application/json")(_write_json)
    api.documentation(_show_page)
    for namespace in NAMESPACES:
        api.add_namespace(namespace)
    ring.register(app)
    return api


def _write_json(data: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(data), status=status, headers=headers, mimetype="application/json")


def _show_page() -> Response:
    page = Response(render_template("index.html"), mimetype="text/html")
    page.headers["Content-Security-Policy"] = PAGE_POLICY
    return page
