"""`/livez`, `/readyz`, `/health`, `/metrics`: how the service is, for probes, people and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from flask import Response
from flask_restx import Namespace
from flask_restx import fields as restx

from store_manager import __version__, metrics
from store_manager.controllers.contexts import store
from store_manager.controllers.fields import ColumnField, Convert, FlagField, TextField
from store_manager.controllers.operations import Answer, Contract, StoreResource, answer, operation
from store_manager.controllers.representations import Representation
from store_manager.database.health import Part, Reach
from store_manager.errors import DatabaseUnavailable, SchemaBehind, StoreError
from store_manager.services import repairs

if TYPE_CHECKING:
    from store_manager.database.health import Health

READY, DEGRADED, UNAVAILABLE = "ready", "degraded", "unavailable"
NO_REACH = Reach(Part.NONE, Part.NONE)

ns = Namespace("health", path="/", description="How the service is")


class SecondsField(ColumnField):
    """A number of seconds, to the millisecond."""

    __schema_type__ = "number"
    answered_as: ClassVar[Convert | None] = partial(round, ndigits=3)


@dataclass(frozen=True)
class Condition:
    """What the service can do at the moment: `reasons` says in sentences what it can't, or what is wrong."""

    status: str
    reasons: list[str]
    health: Health | None = None
    reach: Reach = NO_REACH
    version: str = __version__

    @property
    def reads(self) -> str:
        """Which part of the rows can be read."""
        return self.reach.reading.name.lower()

    @property
    def writes(self) -> str:
        """Which part of the rows can be written."""
        return self.reach.writing.name.lower()

    @property
    def schema_agreed(self) -> bool | None:
        """Whether all nodes that answered have the same schema; None without a connection."""
        return None if self.health is None else self.health.schema_agreed

    @property
    def nodes(self) -> list[object]:
        """The nodes of the cluster; none without a connection."""
        return [] if self.health is None else list(self.health.nodes)


_STATUS = TextField(
    description="ready; degraded, if something is wrong; unavailable, if nothing can be answered",
    required=True,
    limits={"enum": [READY, DEGRADED, UNAVAILABLE]},
)
_REASONS = restx.List(TextField(example="Node 127.0.0.2 does not answer"), required=True, description="What is wrong")
_PARTS = {"enum": [part.name.lower() for part in Part]}
_READS = TextField(
    description="Which part of the rows can be read; perhaps as they were before, while `writes` is not all",
    required=True,
    limits=_PARTS,
)
_WRITES = TextField(description="Which part of the rows can be written", required=True, limits=_PARTS)
NODE = Representation(
    "Node",
    {
        "address": TextField(description="Its address", required=True, example="127.0.0.1"),
        "datacenter": TextField(description="Its data centre", required=True, example="dc1"),
        "up": FlagField(description="Whether the driver holds it for alive", required=True),
        "clock_skew_s": SecondsField(
            description="Its clock minus the service's; null: no answer", required=True, nullable=True, example=0.001
        ),
        "schema_version": TextField(description="Its schema; null: no answer", required=True, nullable=True),
    },
)
LIFE = Representation("Life", {"status": TextField(description="alive", required=True, example="alive")})
READINESS = Representation("Readiness", {"status": _STATUS, "reads": _READS, "writes": _WRITES, "reasons": _REASONS})
SUMMARY = Representation(
    "Health",
    {
        "status": _STATUS,
        "version": TextField(description="The service's version", required=True, example="0.1.0"),
        "reads": _READS,
        "writes": _WRITES,
        "reasons": _REASONS,
        "schema_agreed": FlagField(
            description="Whether all nodes have one schema; null: not connected", required=True, nullable=True
        ),
        "nodes": restx.List(restx.Nested(NODE.model), required=True, description="The nodes of the cluster"),
    },
)


@dataclass(frozen=True)
class _Alive:
    status: str = "alive"


def _examine() -> Condition:
    context = store()
    try:
        database = context.keeper.require()
    except (DatabaseUnavailable, SchemaBehind) as error:
        return Condition(UNAVAILABLE, [error.message])
    health, reach = database.health(), database.reach()
    reasons = health.warnings + reach.warnings
    if reach.reading is Part.NONE or all(node.clock_skew_s is None for node in health.nodes):
        return Condition(UNAVAILABLE, reasons, health, NO_REACH)
    return Condition(DEGRADED if reasons else READY, reasons, health, reach)


def _examine_with_upkeep() -> Condition:
    """Examine for people whether a repair is overdue as well; probes come too often for that."""
    condition, context = _examine(), store()
    if condition.status == UNAVAILABLE:
        return condition
    own = context.settings
    try:
        database = context.keeper.require()
        alarms = repairs.find_alarms(
            database.ages(),
            database.copies(),
            percent=own.repair_alarm_percent,
            paxos_hours=own.paxos_repair_alarm_hours,
        )
    except StoreError as error:
        alarms = [f"Nobody knows whether a repair is overdue: {error.message}"]
    return replace(condition, status=DEGRADED, reasons=[*condition.reasons, *alarms]) if alarms else condition


def _answer_condition(representation: Representation, condition: Condition) -> Response:
    return answer(representation, condition, status=503 if condition.status == UNAVAILABLE else 200)


@ns.route("/livez")
class Liveness(StoreResource):
    """Whether the process lives."""

    @operation(ns, Contract("get_liveness", {200: Answer("It lives", LIFE)}, asks_database=False))
    def get(self) -> Response:
        """Tell that the process lives; asks nobody else."""
        return answer(LIFE, _Alive())


@ns.route("/readyz")
class Ready(StoreResource):
    """Whether requests can be answered."""

    @operation(
        ns,
        Contract(
            "get_readiness",
            {200: Answer("Something useful can be answered", READINESS), 503: Answer("Nothing can", READINESS)},
            asks_database=False,
        ),
    )
    def get(self) -> Response:
        """Tell whether anything useful can be answered, and what is wrong if not all is well."""
        return _answer_condition(READINESS, _examine())


_SUMMARY_ANSWERS = {200: Answer("The summary", SUMMARY), 503: Answer("Nothing can be answered", SUMMARY)}


@ns.route("/health")
class Summary(StoreResource):
    """The summary for people."""

    @operation(ns, Contract("get_health", _SUMMARY_ANSWERS, asks_database=False))
    def get(self) -> Response:
        """Show the state of the service and of each node: who is up, whose clock is off, whether the schema is one."""
        return _answer_condition(SUMMARY, _examine_with_upkeep())


@ns.route("/health-check")
class OldSummary(StoreResource):
    """The summary under its old name."""

    @operation(ns, Contract("get_health_check", _SUMMARY_ANSWERS, asks_database=False))
    def get(self) -> Response:
        """Show the same as `/health`, under its old name."""
        return _answer_condition(SUMMARY, _examine_with_upkeep())


@ns.route("/metrics")
class Metrics(StoreResource):
    """The figures for Prometheus."""

    @operation(
        ns,
        Contract(
            "get_metrics",
            {200: Answer("Figures as text for Prometheus")},
            asks_database=False,
            media_type="text/plain",
        ),
    )
    def get(self) -> Response:
        """Show how many requests and statements there were, and how long they took."""
        text, media_type = metrics.write_all()
        return Response(text, content_type=media_type)
