"""What is noted of a traced statement, and what its failure is read as."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from cassandra import (
    DriverException,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    Unavailable,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import ErrorMessage

from store_manager.database.failures import NO_ANSWER, TOO_FEW_ALIVE, TOO_FEW_ANSWERED, Failure, explain
from store_manager.database.traces import noting, tracing, wanted

FIRST, SECOND = SimpleNamespace(address="127.0.0.1"), SimpleNamespace(address="127.0.0.2")
UNAVAILABLE = Unavailable("too few", consistency=5, required_replicas=3, alive_replicas=2)


def future(*asked: Any, coordinator: Any = None, trace_ids: tuple[Any, ...] = ()) -> Any:
    """Stands for the driver's future of a statement that was sent to these nodes."""
    noted = [SimpleNamespace(trace_id=trace_id) for trace_id in trace_ids] or None
    return SimpleNamespace(attempted_hosts=list(asked), coordinator_host=coordinator, _query_traces=noted)


def test_nothing_is_traced_unless_somebody_looks() -> None:
    assert not wanted()
    with tracing() as sent, noting(future(FIRST, coordinator=FIRST)):
        assert wanted()
    assert not wanted()
    assert [one.coordinator for one in sent] == ["127.0.0.1"]

    with noting(SimpleNamespace()):
        """Nothing is asked of the future of a statement that nobody looks at."""


def test_of_a_statement_that_was_sent_again_the_last_answer_counts_and_all_who_were_asked_are_noted() -> None:
    refused, answered = uuid4(), uuid4()
    with (
        tracing() as sent,
        noting(future(FIRST, SECOND, coordinator=SECOND, trace_ids=(refused, answered))),
    ):
        pass

    assert [(one.asked, one.coordinator, one.trace_id, one.failure) for one in sent] == [
        (("127.0.0.1", "127.0.0.2"), "127.0.0.2", answered, None)
    ]


def test_a_statement_that_failed_is_noted_and_fails_all_the_same() -> None:
    with tracing() as sent, pytest.raises(Unavailable), noting(future(FIRST, coordinator=FIRST)):
        raise UNAVAILABLE

    assert [one.failure for one in sent] == [Failure(TOO_FEW_ALIVE, 3, 2)]


def test_a_statement_that_nobody_answered_has_neither_coordinator_nor_trace() -> None:
    with tracing() as sent, pytest.raises(OperationTimedOut), noting(future(FIRST)):
        raise OperationTimedOut

    assert [(one.coordinator, one.trace_id, one.failure) for one in sent] == [(None, None, Failure(NO_ANSWER))]


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (UNAVAILABLE, Failure(TOO_FEW_ALIVE, 3, 2)),
        (
            ReadTimeout("", consistency=5, required_responses=3, received_responses=2, data_retrieved=True),
            Failure(TOO_FEW_ANSWERED, 3, 2),
        ),
        (
            WriteTimeout("", consistency=8, required_responses=2, received_responses=0, write_type=WriteType.CAS),
            Failure(TOO_FEW_ANSWERED, 2, 0),
        ),
        (
            ReadFailure("", consistency=6, required_responses=2, received_responses=1, failures=1),
            Failure(TOO_FEW_ANSWERED, 2, 1),
        ),
        (NoHostAvailable("", {"one": DriverException(), "two": UNAVAILABLE}), Failure(TOO_FEW_ALIVE, 3, 2)),
        (NoHostAvailable("", {"one": OperationTimedOut()}), Failure(NO_ANSWER)),
        (NoHostAvailable("", {}), Failure(NO_ANSWER)),
        (ErrorMessage(0x1700, "CAS operation result is unknown", None), Failure(NO_ANSWER)),
    ],
)
def test_a_failure_is_told_in_numbers_where_there_are_any(error: Exception, failure: Failure) -> None:
    assert explain(error) == failure
