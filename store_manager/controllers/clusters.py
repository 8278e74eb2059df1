"""`/cluster`: the nodes, their ranges and how they are now; and which of them answered for one product.

HTTP in, HTTP out. What a trace says is read in `store_manager.services.traces`; how the nodes are, in
`store_manager.database.surveys`. The page that draws it is `store_manager.controllers.ring`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from flask_restx import Namespace
from flask_restx import fields as restx

from store_manager.controllers.contexts import store
from store_manager.controllers.fields import ColumnField, Convert, FlagField, IdField, TextField, WholeField
from store_manager.controllers.operations import Answer, Contract, StoreResource, answer, operation, path_id
from store_manager.controllers.representations import Query, Representation
from store_manager.database.failures import NO_ANSWER, TOO_FEW_ALIVE, TOO_FEW_ANSWERED
from store_manager.database.surveys import State
from store_manager.errors import ProductNotFound
from store_manager.services import traces
from store_manager.services.traces import Operation, Outcome

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Response

    from store_manager.database.surveys import NodeSurvey, Survey
    from store_manager.services.traces import Trace

ns = Namespace("cluster", description="The nodes, and where a product lives")

LEVELS = ("ONE", "QUORUM", "ALL", "LOCAL_ONE", "LOCAL_QUORUM")


class TokenField(ColumnField):
    """A token: as text, because a number of 64 bits does not survive JavaScript."""

    __schema_type__ = "string"
    __schema_format__ = "int64"
    __schema_example__ = "-3074457345618258603"
    answered_as: ClassVar[Convert | None] = str


class NumberField(ColumnField):
    """A number that is not whole, with three decimal places."""

    __schema_type__ = "number"
    answered_as: ClassVar[Convert | None] = partial(round, ndigits=3)


class ShareField(ColumnField):
    """A part of a whole, from 0 to 1."""

    __schema_type__ = "number"
    answered_as: ClassVar[Convert | None] = partial(round, ndigits=6)


def _address(description: str, **options: Any) -> TextField:
    return TextField(description=description, example="127.0.0.1", **{"required": True, **options})


def _addresses(description: str) -> restx.List:
    return restx.List(_address("The address of a node"), required=True, description=description)


SIGHT = Representation(
    "Sight",
    {
        "address": _address("The node that looks"),
        "alive": FlagField(
            description="Whether this node's heartbeat moves in its eyes; null: not watched for long enough",
            required=True,
            nullable=True,
        ),
    },
)
MEMBER = Representation(
    "ClusterNode",
    {
        "address": _address("Its address", attribute="member.address"),
        "datacenter": TextField(
            attribute="member.datacenter", description="Its data centre", required=True, example="dc1"
        ),
        "rack": TextField(attribute="member.rack", description="Its rack", required=True, example="rack1"),
        "release": TextField(
            attribute="member.release", description="Its version of Cassandra", required=True, example="4.1.10"
        ),
        "state": TextField(
            description="UP: it answers this service; SILENT: connected, but it does not answer; DOWN: no connection. "
            "In a data centre that this service does not connect to: UP or DOWN as the others see it, UNKNOWN until "
            "they tell",
            required=True,
            limits={"enum": [*State]},
        ),
        "answer_ms": NumberField(
            description="How long its answer took, in ms; null: none", required=True, nullable=True, example=1.234
        ),
        "seen_by": restx.List(
            restx.Nested(SIGHT.model), required=True, description="How each other node that answers sees it"
        ),
        "schema_version": TextField(description="Its schema; null: no answer", required=True, nullable=True),
        "load_bytes": WholeField(
            description="Data on its disk, as it last told the others; null: not known",
            required=True,
            nullable=True,
            example=123456,
        ),
        "share": ShareField(
            attribute="member.owns",
            description="Its part of the ring, copies not counted",
            required=True,
            example=0.333333,
        ),
        "tokens": restx.List(
            TokenField(), attribute="member.tokens", required=True, description="Where it stands on the ring"
        ),
    },
)
RANGE = Representation(
    "TokenRange",
    {
        "after": TokenField(description="The range begins after this token", required=True),
        "until": TokenField(description="It ends with this one", required=True),
        "owner": _address("The node that this token is of"),
        "replicas": _addresses("The nodes that hold its rows, in order"),
    },
)
COPIES = Representation(
    "Copies",
    {
        "datacenter": TextField(description="The data centre", required=True, example="dc1"),
        "count": WholeField(description="How many of its nodes hold each row", required=True, example=3),
    },
)
CLUSTER = Representation(
    "Cluster",
    {
        "name": TextField(description="The cluster's name", required=True, example="store-3"),
        "keyspace": TextField(description="The store's keyspace", required=True, example="store_manager"),
        "copies": restx.List(
            restx.Nested(COPIES.model), required=True, description="The replication of the store's keyspace"
        ),
        "schema_agreed": FlagField(description="Whether all nodes that answered have one schema", required=True),
        "nodes": restx.List(restx.Nested(MEMBER.model), required=True, description="Every node of the cluster"),
        "ranges": restx.List(
            restx.Nested(RANGE.model), required=True, description="The whole ring, in the order of its tokens"
        ),
    },
)

PART = Representation(
    "TraceReplica",
    {
        "address": _address("The replica"),
        "up": FlagField(
            description="Whether the driver holds it for alive; null: it does not connect to it",
            required=True,
            nullable=True,
        ),
        "asked": FlagField(description="Whether the coordinator asked it, itself included", required=True),
        "answered_ms": NumberField(
            description="When the coordinator had its last answer, in ms since it began; null: none",
            required=True,
            nullable=True,
            example=0.871,
        ),
    },
)
EVENT = Representation(
    "TraceEvent",
    {
        "node": _address("The node"),
        "elapsed_ms": NumberField(description="In ms since this node began", required=True, example=0.214),
        "activity": TextField(description="What it did, in Cassandra's words", required=True),
    },
)
FAILURE = Representation(
    "TraceFailure",
    {
        "reason": TextField(
            description="TOO_FEW_ALIVE: the coordinator knew that before it asked; TOO_FEW_ANSWERED: it waited in "
            "vain; NO_ANSWER: no coordinator said how many there were",
            required=True,
            limits={"enum": [TOO_FEW_ALIVE, TOO_FEW_ANSWERED, NO_ANSWER]},
        ),
        "required": WholeField(
            description="How many replicas had to answer; null: not said", required=True, nullable=True, example=3
        ),
        "found": WholeField(
            description="How many were alive, or answered; null: not said", required=True, nullable=True, example=2
        ),
    },
)
TRACE = Representation(
    "Trace",
    {
        "product_id": IdField(description="The product", required=True),
        "name": TextField(description="Its name; null: it could not be read", required=True, nullable=True),
        "sku": TextField(description="Its SKU; null: it could not be read", required=True, nullable=True),
        "key": TextField(
            description="Its partition key as the nodes hash it",
            required=True,
            example="0x0f8fad5bd9cb469fa16570867728950e",
        ),
        "token": TokenField(description="Where the key stands on the ring", required=True),
        "operation": TextField(description="What was followed", required=True, limits={"enum": [*Operation]}),
        "level": TextField(description="The consistency level", required=True, example="QUORUM"),
        "outcome": TextField(
            description="ANSWERED; REFUSED: the write's condition no longer held; FAILED: the level could not be met; "
            "UNKNOWN: nobody knows whether the write happened",
            required=True,
            limits={"enum": [*Outcome]},
        ),
        "failures": restx.List(
            restx.Nested(FAILURE.model), required=True, description="Why the level could not be met; empty if it was"
        ),
        "asked": _addresses("The coordinators that the service asked, in order; more than one if it had to ask again"),
        "coordinator": _address("The one that answered; null: none did", nullable=True),
        "took_ms": NumberField(description="How long the service waited, in ms", required=True, example=2.345),
        "coordinated_ms": NumberField(
            description="How long the coordinator worked, in ms; null: not written down",
            required=True,
            nullable=True,
            example=1.456,
        ),
        "replicas": restx.List(restx.Nested(PART.model), required=True, description="The replicas, in order"),
        "complete": FlagField(
            description="Whether every node that answered has written down what it did", required=True
        ),
        "events": restx.List(
            restx.Nested(EVENT.model), required=True, description="What each node did, in the order of their clocks"
        ),
    },
)
TRACE_QUERY = Query(
    "TraceQuery",
    {
        "operation": TextField(
            description="What to follow; WRITE is a real conditional write that writes back what is there",
            limits={"enum": [*Operation]},
            default=Operation.READ.value,
        ),
        "level": TextField(
            description="The consistency level; without one, that of the store's own reads or writes",
            limits={"enum": [*LEVELS]},
            example="QUORUM",
        ),
    },
)


@dataclass(frozen=True)
class _Copies:
    datacenter: str
    count: int


class _ShownSurvey:
    """A survey as it is answered."""

    def __init__(self, survey: Survey) -> None:
        self.name = survey.name
        self.keyspace = survey.ring.keyspace
        self.copies = [_Copies(*pair) for pair in survey.copies.items()]
        self.schema_agreed = survey.schema_agreed
        self.nodes = [_ShownNode(node) for node in survey.nodes]
        self.ranges = survey.ring.ranges


class _ShownNode:
    """A node as it is answered."""

    def __init__(self, node: NodeSurvey) -> None:
        self.member = node.member
        self.state = node.state
        self.answer_ms = _ms(node.answer_s)
        self.seen_by = node.seen_by
        self.schema_version = node.schema_version
        self.load_bytes = node.load_bytes


class _ShownTrace:
    """A trace as it is answered."""

    def __init__(self, trace: Trace) -> None:
        self.product_id = trace.product_id
        self.name = trace.product.name if trace.product else None
        self.sku = trace.product.sku if trace.product else None
        self.key = f"0x{trace.place.key.hex()}"
        self.token = trace.place.token
        self.operation = trace.operation
        self.level = trace.level
        self.outcome = trace.outcome
        self.failures = [trace.failure] if trace.failure else []
        self.asked = trace.sent.asked
        self.coordinator = trace.sent.coordinator
        self.took_ms = _ms(trace.sent.took_s)
        self.coordinated_ms = trace.written.duration_ms
        self.replicas = trace.parts
        self.complete = trace.written.complete
        self.events = trace.written.events


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


@ns.route("")
class TheCluster(StoreResource):
    """The cluster as a whole."""

    @operation(ns, Contract("get_cluster", {200: Answer("The cluster", CLUSTER)}))
    def get(self) -> Response:
        """Show the nodes, their ranges of the ring, and how each is at this moment.

        Every node that is up is asked, for at most a second. The page `/ring` draws it.
        """
        return answer(CLUSTER, _ShownSurvey(store().keeper.require().survey()))


@ns.route("/trace/<product_id>")
@ns.doc(params=path_id("product_id", "The product's id"))
class ProductTrace(StoreResource):
    """One read or write of a product, followed."""

    @operation(
        ns,
        Contract(
            "trace_product",
            {200: Answer("What happened", TRACE)},
            query=TRACE_QUERY,
            refuses=(ProductNotFound,),
        ),
    )
    def get(self, product_id: UUID, query: dict[str, Any]) -> Response:
        """Read a product, or write it as it is, and show where it lives and which replicas answered.

        The level is part of the experiment: that it can't be met is an outcome, not an error. The write sets the time
        of the last change to what it is, on the condition that the version is still the one that was read: a whole
        lightweight transaction of which nobody notices anything, even if it applies late. Cassandra writes its traces
        down in the background; they are waited for up to two seconds, then `complete` is false.
        """
        settings = store().settings
        operation_asked = Operation(query["operation"])
        reads, writes = settings.cassandra_read_consistency, settings.cassandra_write_consistency
        level = query["level"] or (reads if operation_asked is Operation.READ else writes)
        ring = store().keeper.require().ring()
        return answer(TRACE, _ShownTrace(traces.follow(product_id, operation_asked, level, ring)))
