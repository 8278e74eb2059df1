"""One declaration for each operation: what Swagger documents is what is read, checked and answered.

`operation` puts the contract on a resource's method and reads the request by the same contract; `answer` writes a
representation. What an operation does stands in the resources, one module for each noun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from typing import Any

import orjson
from flask import Response, g
from flask_restx import Model as RestxModel
from flask_restx import Namespace, Resource
from flask_restx import fields as restx

from store_manager.controllers import requests
from store_manager.controllers.contexts import store
from store_manager.controllers.fields import ColumnField, IdField
from store_manager.controllers.problems import (
    MEDIA_TYPE,
    PROBLEM,
    PROBLEM_TYPES,
    BodySizeError,
    HttpError,
    MediaTypeError,
)
from store_manager.controllers.representations import Input, Query, Representation, invalid
from store_manager.database import levels
from store_manager.errors import (
    Contended,
    DatabaseUnavailable,
    FieldError,
    KeyInUse,
    KeyReused,
    KeySpent,
    OutcomeUnknown,
    RequestInvalid,
    SchemaBehind,
    StoreError,
    VersionStale,
)

Refusal = type[StoreError]
Handler = Callable[..., Response]

NO_QUERY = Query("NoQuery", {})

REPLAYED = "Idempotency-Replayed"

COORDINATOR, ATTEMPTS, STALE = "Coordinator-Node", "Coordinator-Attempts", "Possibly-Stale"
"""Headers that say who answered; the level is answered in the header that asks for one."""


class StoreResource(Resource):
    """A resource whose methods are operations."""


class _Parts:
    """The parts of a request, read one after the other, and what is wrong with any of them."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.errors: list[FieldError] = []

    def take(self, name: str, read: Callable[[], Any]) -> None:
        try:
            self.arguments[name] = read()
        except RequestInvalid as error:
            self.errors.extend(error.fields)
        except HttpError:  # a body that can't be read: told alone, unless something before it is wrong
            if not self.errors:
                raise

    def all_or_errors(self, leave: str | None) -> dict[str, Any]:
        if self.errors:
            raise invalid(self.errors)
        return {name: value for name, value in self.arguments.items() if name != leave}


@dataclass(frozen=True)
class Answer:
    """An answer of success: what it is, what it shows, and whether `Location` says where that is found."""

    description: str
    shows: Representation | None = None
    located: bool = False


@dataclass(frozen=True)
class Reads:
    """How a GET reads: the setting of its consistency level, and whether it would rather be stale than refused."""

    setting: str
    may_be_stale: bool = False


READS_CATALOGUE = Reads("cassandra_catalogue_consistency", may_be_stale=True)
READS_STOCK = Reads("cassandra_stock_consistency", may_be_stale=True)
READS_REPORT = Reads("cassandra_report_consistency")
READS_OTHER = Reads("cassandra_read_consistency")


@dataclass(frozen=True)
class Contract:
    """What one operation reads, answers and refuses.

    One that does not ask the database answers without it; a GET of what is stored says how it `reads`.
    """

    name: str
    answers: dict[int, Answer]
    body: Input | None = None
    body_is_optional: bool = False
    query: Query = NO_QUERY
    refuses: tuple[Refusal, ...] = ()
    reads: Reads | None = None
    writes: bool = False
    if_match: bool = False
    keyed: bool = False
    asks_database: bool = True
    media_type: str = "application/json"

    def read_request(self, path: dict[str, str]) -> dict[str, Any]:
        """Return the arguments that the request gives to the operation, those of its path included.

        Raises RequestInvalid that names all that is wrong, wherever it stands in the request.
        """
        parts = _Parts()
        for name, text in path.items():
            read = partial(requests.read_id, name, text) if name.endswith("_id") else partial(str, text)
            parts.take(name, read)
        parts.take("query", partial(requests.read_query, self.query))
        parts.take("level", partial(requests.read_level, allowed=self.reads is not None))
        if self.if_match:
            parts.take("version", requests.read_if_match)
        if self.body is not None:
            parts.take("body", partial(requests.read_body, self.body, optional=self.body_is_optional))
        if self.keyed:
            lease = timedelta(seconds=store().settings.request_timeout_s)
            parts.take("key", partial(requests.read_key, parts.arguments.get("body"), lease))
        return parts.all_or_errors(leave="query" if self.query is NO_QUERY else None)

    def reading(self, level: str | None) -> AbstractContextManager[None]:
        """Return the context in which the operation reads: at the level that the request asks for, or at its own."""
        if self.reads is None:
            return nullcontext()
        settings = store().settings
        may_be_stale = self.reads.may_be_stale and settings.cassandra_stale_reads and level is None
        return levels.reading(level or getattr(settings, self.reads.setting), may_be_stale=may_be_stale)

    def refusals(self) -> Iterator[Refusal]:
        """Give every kind of problem that the operation may answer, those of all operations included."""
        yield RequestInvalid
        yield from self.refuses
        if self.if_match:
            yield VersionStale
        if self.keyed:
            yield from (KeyInUse, KeySpent, KeyReused)
        if self.body is not None:
            yield from (BodySizeError, MediaTypeError)
        if self.asks_database:
            yield from (DatabaseUnavailable, SchemaBehind)
        if self.writes:
            yield from (Contended, OutcomeUnknown)


def operation(namespace: Namespace, contract: Contract) -> Callable[[Handler], Handler]:
    """Document a method by this contract, and give it what the contract reads from the request."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def run(self: StoreResource, **path: str) -> Response:
            arguments = contract.read_request(path)
            level = arguments.pop("level", None)
            if contract.asks_database:
                store().keeper.require()
            g.key = arguments.get("key")
            with contract.reading(level):
                return handler(self, **arguments)

        return namespace.doc(**_documentation(namespace, contract))(run)  # type: ignore[no-any-return]

    return decorate


def answer(representation: Representation, thing: Any, *, status: int = 200, location: str | None = None) -> Response:
    """Return the answer that shows this thing, with its ETag if it has versions."""
    response = Response(orjson.dumps(representation.serialise(thing)), status=status, mimetype="application/json")
    if representation.read_version is not None:
        response.set_etag(str(representation.read_version(thing)))
    if location is not None:
        response.headers["Location"] = location
    return response


def nothing() -> Response:
    """Return the answer that says that it was done and that there is nothing to show."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def path_id(name: str, description: str) -> dict[str, Any]:
    """Return the documentation of an id in the path, for `Namespace.doc` on a resource."""
    parameter = _parameter(IdField(description=description))
    return {name: {**parameter, "in": "path", "required": True, "x-example": IdField.__schema_example__}}


def _documentation(namespace: Namespace, contract: Contract) -> dict[str, Any]:
    documentation: dict[str, Any] = {
        "id": contract.name,
        "params": {name: {**_parameter(of), "in": "query"} for name, of in contract.query.model.items()},
        "responses": {str(status): _documented(namespace, kind, contract) for status, kind in contract.answers.items()},
        "produces": [contract.media_type, MEDIA_TYPE],
    }
    if contract.reads is not None:
        documentation["params"][requests.LEVEL_HEADER] = {
            "in": "header",
            "type": "string",
            "enum": list(requests.LEVELS),
            "description": "Read at this level instead of the configured one",
        }
    if contract.if_match:
        documentation["params"]["If-Match"] = {
            "in": "header",
            "type": "string",
            "description": "Change it only if this is still its `ETag`, quotes included; without it, whatever it is",
        }
    if contract.keyed:
        documentation["params"][requests.KEY_HEADER] = {
            "in": "header",
            "type": "string",
            "maxLength": requests.LONGEST_KEY,
            "description": "Sent again with the same key, the call finds its first outcome and changes nothing",
        }
    if contract.body is not None:
        documentation["expect"] = [_registered(namespace, contract.body.model)]
        documentation["params"]["payload"] = {"required": not contract.body_is_optional}
    documentation["responses"].update(_documented_refusals(namespace, contract))
    return documentation


def _parameter(of: ColumnField) -> dict[str, Any]:
    # Without its example: Swagger UI would send that, filters that exclude each other and versions of the past.
    schema = {word: value for word, value in of.__schema__.items() if word != "example" and not word.startswith("x-")}
    return {**schema, "required": bool(of.required)}


def _documented(
    namespace: Namespace, kind: Answer, contract: Contract
) -> tuple[str, RestxModel | None, dict[str, Any]]:
    headers: dict[str, str] = {}
    if contract.reads is not None or contract.writes:
        headers |= {
            COORDINATOR: "Which nodes answered",
            requests.LEVEL_HEADER: "At which levels",
            ATTEMPTS: "To how many nodes one statement was sent at most",
        }
    if contract.reads is not None:
        headers[STALE] = "true if an acknowledged write may be missing"
    if kind.shows is not None and kind.shows.read_version is not None:
        headers["ETag"] = "Its version, for If-Match"
    if kind.located:
        headers["Location"] = "Where it is found"
    if contract.keyed:
        headers[REPLAYED] = "true if this is the first outcome again"
    model = None if kind.shows is None else _registered(namespace, kind.shows.model)
    return kind.description, model, {"headers": headers}


def _documented_refusals(namespace: Namespace, contract: Contract) -> dict[str, Any]:
    titles: dict[int, list[str]] = {}
    for code in (*dict.fromkeys(refusal.code for refusal in contract.refusals()), "INTERNAL_ERROR"):
        kind = PROBLEM_TYPES[code]
        titles.setdefault(kind.status, []).append(f"`{code}`: {kind.title}")
    problem = _registered(namespace, PROBLEM.model)
    return {str(status): ("; ".join(found), problem, {}) for status, found in sorted(titles.items())}


def _registered(namespace: Namespace, model: RestxModel) -> RestxModel:
    namespace.add_model(model.name, model)
    for of in model.values():
        nested = of.container if isinstance(of, restx.List) else of
        if isinstance(nested, restx.Nested):
            _registered(namespace, nested.model)
    return model
