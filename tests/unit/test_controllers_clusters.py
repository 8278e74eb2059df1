"""What `/cluster` answers for a survey and for a trace, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import ANY, Mock, create_autospec
from uuid import UUID

import pytest

from store_manager.controllers.contexts import EXTENSION
from store_manager.database.failures import TOO_FEW_ALIVE, Failure
from store_manager.database.rings import Member, Place, Range, Ring
from store_manager.database.surveys import NodeSurvey, Sight, State, Survey
from store_manager.database.traces import Sent
from store_manager.models import Product
from store_manager.services import traces
from store_manager.services.traces import Event, Operation, Outcome, Part, Trace, Written

if TYPE_CHECKING:
    from flask import Flask

ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
FIRST = -(2**63)


def member(address: str, *tokens: int, up: bool = True) -> Member:
    return Member(address, address, "dc1", "rack1", "4.1.10", up=up, tokens=tokens, owns=0.5)


SURVEY = Survey(
    "store-2",
    {"dc1": 2},
    Ring("store", (member(ONE, FIRST), member(TWO, 0)), (Range(0, FIRST, ONE, (ONE, TWO)), Range(FIRST, 0, TWO, ()))),
    (
        NodeSurvey(member(ONE, FIRST), State.UP, 0.0012345, "v1", 2048, ()),
        NodeSurvey(member(TWO, 0, up=False), State.DOWN, None, None, None, (Sight(ONE, alive=None),)),
    ),
)


def trace(outcome: Outcome, failure: Failure | None = None, product: Product | None = None) -> Trace:
    return Trace(
        product_id=ID,
        product=product,
        place=Place(ID.bytes, 2**63 - 1, (ONE, TWO)),
        operation=Operation.READ,
        level="ALL",
        outcome=outcome,
        sent=Sent((TWO, ONE), ONE, None, 0.0123456, failure),
        written=Written(1.5, complete=True, events=(Event(ONE, 0.25, "Parsing", 0),)),
        parts=(Part(ONE, up=True, asked=True, answered_ms=0.5), Part(TWO, up=False), Part(THREE, up=None)),
    )


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Mock:
    function: Mock = create_autospec(traces.follow, return_value=trace(Outcome.ANSWERED, product=Product(name="Mouse")))
    monkeypatch.setattr(traces, "follow", function)
    return function


def test_a_survey_is_answered_with_tokens_as_text_that_no_javascript_rounds(
    client: Any, store_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_app.extensions[EXTENSION].keeper.require(), "survey", lambda: SURVEY)

    answered = client.get("/cluster").json

    assert answered | {"nodes": ANY} == {
        "name": "store-2",
        "keyspace": "store",
        "copies": [{"datacenter": "dc1", "count": 2}],
        "schema_agreed": True,
        "nodes": ANY,
        "ranges": [
            {"after": "0", "until": "-9223372036854775808", "owner": ONE, "replicas": [ONE, TWO]},
            {"after": "-9223372036854775808", "until": "0", "owner": TWO, "replicas": []},
        ],
    }
    assert answered["nodes"] == [
        {
            "address": ONE,
            "datacenter": "dc1",
            "rack": "rack1",
            "release": "4.1.10",
            "state": "UP",
            "answer_ms": 1.234,
            "seen_by": [],
            "schema_version": "v1",
            "load_bytes": 2048,
            "share": 0.5,
            "tokens": ["-9223372036854775808"],
        },
        answered["nodes"][0]
        | {
            "address": TWO,
            "state": "DOWN",
            "answer_ms": None,
            "seen_by": [{"address": ONE, "alive": None}],
            "schema_version": None,
            "load_bytes": None,
            "tokens": ["0"],
        },
    ]


def test_a_trace_is_answered_with_key_token_replicas_and_who_answered_after_how_long(client: Any, follow: Mock) -> None:
    answered = client.get(f"/cluster/trace/{ID}?level=ALL&operation=READ").json

    assert answered == {
        "product_id": str(ID),
        "name": "Mouse",
        "sku": None,
        "key": f"0x{ID.hex}",
        "token": "9223372036854775807",
        "operation": "READ",
        "level": "ALL",
        "outcome": "ANSWERED",
        "failures": [],
        "asked": [TWO, ONE],
        "coordinator": ONE,
        "took_ms": 12.346,
        "coordinated_ms": 1.5,
        "replicas": [
            {"address": ONE, "up": True, "asked": True, "answered_ms": 0.5},
            {"address": TWO, "up": False, "asked": False, "answered_ms": None},
            {"address": THREE, "up": None, "asked": False, "answered_ms": None},
        ],
        "complete": True,
        "events": [{"node": ONE, "elapsed_ms": 0.25, "activity": "Parsing"}],
    }
    follow.assert_called_once_with(ID, Operation.READ, "ALL", ANY)


def test_that_a_level_can_t_be_met_is_answered_not_refused(client: Any, follow: Mock) -> None:
    follow.return_value = trace(Outcome.FAILED, Failure(TOO_FEW_ALIVE, 2, 1))

    answered = client.get(f"/cluster/trace/{ID}")

    assert (answered.status_code, answered.json["outcome"], answered.json["name"]) == (200, "FAILED", None)
    assert answered.json["failures"] == [{"reason": "TOO_FEW_ALIVE", "required": 2, "found": 1}]


@pytest.mark.parametrize(
    ("query", "operation"), [("", Operation.READ), ("?operation=READ", Operation.READ), ("?operation=WRITE", "WRITE")]
)
def test_without_a_level_it_is_that_of_the_store_s_own_reads_and_writes(
    client: Any, follow: Mock, query: str, operation: str
) -> None:
    client.get(f"/cluster/trace/{ID}{query}")

    follow.assert_called_once_with(ID, operation, "LOCAL_QUORUM", ANY)


@pytest.mark.parametrize(
    ("query", "param"), [("level=SERIAL", "level"), ("operation=DELETE", "operation"), ("node=1", "node")]
)
def test_a_level_or_an_operation_that_is_none_is_refused(client: Any, follow: Mock, query: str, param: str) -> None:
    refused = client.get(f"/cluster/trace/{ID}?{query}")

    assert (refused.status_code, [error["param"] for error in refused.json["errors"]]) == (400, [param])
    follow.assert_not_called()
