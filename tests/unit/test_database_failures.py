"""What each of the driver's errors means to the store."""

from __future__ import annotations

import pytest
from cassandra import (
    AlreadyExists,
    InvalidRequest,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.protocol import ErrorMessage, ServerError, SyntaxException

from store_manager.database.failures import DRIVER_ERRORS, ReplicasBehind, is_shortage, translate
from store_manager.database.replicas import Shortage
from store_manager.database.statements import Kind
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind, StoreError

CAS_WRITE_UNKNOWN = ErrorMessage(0x1700, "CAS operation result is unknown", None)
UNAVAILABLE = Unavailable("too few", consistency=6, required_replicas=2, alive_replicas=1)
READ_TIMEOUT = ReadTimeout("slow", consistency=6, required_responses=2, received_responses=1, data_retrieved=False)
FAILURES = [
    CAS_WRITE_UNKNOWN,
    UNAVAILABLE,
    READ_TIMEOUT,
    ReadFailure("broken", consistency=6),
    WriteTimeout("slow", consistency=6, required_responses=2, received_responses=1, write_type=WriteType.SIMPLE),
    WriteFailure("broken", consistency=6, write_type=WriteType.SIMPLE),
    ServerError(0, "oops", None),
    OperationTimedOut({}, None),
    ConnectionShutdown("gone"),
    NoHostAvailable("nobody", {}),
]


def name_of(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", FAILURES, ids=name_of)
def test_every_failure_is_recognised_as_the_drivers(error: Exception) -> None:
    assert isinstance(error, DRIVER_ERRORS)


@pytest.mark.parametrize("error", FAILURES, ids=name_of)
def test_a_read_that_fails_has_changed_nothing(error: Exception) -> None:
    assert isinstance(translate(error, Kind.READ, attempts=2), DatabaseUnavailable)


@pytest.mark.parametrize("error", FAILURES, ids=name_of)
def test_a_conditional_write_that_was_sent_may_have_happened(error: Exception) -> None:
    assert isinstance(translate(error, Kind.CONDITIONAL, attempts=1), OutcomeUnknown)


@pytest.mark.parametrize("error", [one for one in FAILURES if one is not UNAVAILABLE], ids=name_of)
def test_a_plain_write_that_was_sent_may_have_happened(error: Exception) -> None:
    assert isinstance(translate(error, Kind.WRITE, attempts=1), OutcomeUnknown)


@pytest.mark.parametrize(
    ("reasons", "lag"),
    [
        ({"a": 0}, True),
        ({"a": 0, "b": 3}, True),
        ({"a": 1}, False),
        ({"a": 0, "b": 1}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_a_read_that_failed_for_no_other_reason_may_meet_a_schema_change(
    reasons: dict[str, int] | None, *, lag: bool
) -> None:
    error = ReadFailure("broken", consistency=6, error_code_map=reasons)
    assert isinstance(translate(error, Kind.READ, attempts=1), ReplicasBehind) is lag
    assert isinstance(translate(error, Kind.CONDITIONAL, attempts=1), OutcomeUnknown)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_was_sent_to_nobody_has_not_happened(kind: Kind) -> None:
    assert isinstance(translate(NoHostAvailable("nobody", {}), kind, attempts=0), DatabaseUnavailable)


def test_a_plain_write_refused_by_its_only_coordinator_has_not_happened() -> None:
    assert isinstance(translate(UNAVAILABLE, Kind.WRITE, attempts=1), DatabaseUnavailable)


def test_a_plain_write_refused_after_an_earlier_attempt_may_have_happened() -> None:
    assert isinstance(translate(UNAVAILABLE, Kind.WRITE, attempts=2), OutcomeUnknown)


FIRST_PHASE = Unavailable("too few", consistency=9, required_replicas=2, alive_replicas=1)
NUMBERS = {"replicas_required": 2, "replicas_alive": 1}


def test_a_conditional_write_refused_in_its_first_phase_has_not_happened() -> None:
    error = translate(FIRST_PHASE, Kind.CONDITIONAL, attempts=1)
    assert isinstance(error, DatabaseUnavailable)
    assert (error.details, is_shortage(error)) == (NUMBERS, True)
    assert isinstance(translate(FIRST_PHASE, Kind.CONDITIONAL, attempts=2), OutcomeUnknown)


@pytest.mark.parametrize(
    ("others", "attempts", "kind"),
    [
        ({"b": FIRST_PHASE}, 2, DatabaseUnavailable),
        ({"b": ConnectionShutdown("was never connected")}, 1, DatabaseUnavailable),
        ({"b": ConnectionShutdown("broke")}, 2, OutcomeUnknown),
        ({"b": UNAVAILABLE}, 2, OutcomeUnknown),
    ],
)
def test_a_write_has_not_happened_if_every_node_that_it_was_sent_to_refused_it(
    others: dict[str, Exception], attempts: int, kind: type[Exception]
) -> None:
    error = translate(NoHostAvailable("nobody", {"a": FIRST_PHASE, **others}), Kind.CONDITIONAL, attempts)
    assert isinstance(error, kind)
    assert isinstance(error, StoreError)
    assert error.details == NUMBERS, "it is said how many are missing"


def test_what_this_process_knows_to_be_missing_is_said_unless_a_coordinator_says_it() -> None:
    known = Shortage(required=3, alive=2)
    for error, said in ((OperationTimedOut(), (3, 2)), (UNAVAILABLE, (2, 1))):
        translated = translate(error, Kind.READ, 1, known)
        assert isinstance(translated, DatabaseUnavailable)
        assert tuple(translated.details.values()) == said
    assert not is_shortage(DatabaseUnavailable("slow"))


@pytest.mark.parametrize(
    "message",
    [
        "unconfigured table products",
        "Undefined column name stars in table store_manager.products",
        "Keyspace store_manager does not exist",
        "keyspace store_manager doesn't exist",
    ],
)
def test_a_missing_table_or_column_means_that_the_schema_is_behind(message: str) -> None:
    assert isinstance(translate(InvalidRequest(message), Kind.READ, attempts=1), SchemaBehind)


def test_missing_grants_make_the_database_unavailable() -> None:
    assert isinstance(translate(Unauthorized("no"), Kind.WRITE, attempts=1), DatabaseUnavailable)


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("Invalid null value"), SyntaxException(0x2000, "line 1", None), AlreadyExists("ks", "t")],
    ids=name_of,
)
def test_a_mistake_in_a_statement_stays_what_it_is(error: Exception) -> None:
    assert translate(error, Kind.WRITE, attempts=1) is error
