"""The session under cqlengine, isolated from any server: time limits, counting, rehearsals, pages, errors."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import ConsistencyLevel, InvalidRequest, OperationTimedOut, ReadFailure
from cassandra.cluster import EXEC_PROFILE_DEFAULT
from cassandra.query import BatchStatement, BoundStatement, SimpleStatement

from store_manager.database import sessions
from store_manager.database.deadlines import deadline
from store_manager.database.failures import CopyRefused
from store_manager.database.levels import reading
from store_manager.database.replicas import Shortage
from store_manager.database.sessions import PreparingSession, Rows, guarded, rehearsing
from store_manager.database.statements import Kind
from store_manager.database.tallies import tally
from store_manager.database.traces import tracing
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, SchemaBehind

if TYPE_CHECKING:
    from collections.abc import Callable

READ = 'SELECT "a" FROM ks.t WHERE "id" = %(0)s'
WRITE = 'INSERT INTO ks.t ("id") VALUES (%(0)s)'
CONDITIONAL = f"{WRITE} IF NOT EXISTS"
PARAMETERS = {"0": "x"}
TIMEOUTS = {"read": 2.0, "write": 3.0, "conditional": 1.0, EXEC_PROFILE_DEFAULT: 30.0}
SHORTAGE_TIMEOUT_S = 0.5
LOCAL_ONE, LOCAL_QUORUM = ConsistencyLevel.LOCAL_ONE, ConsistencyLevel.LOCAL_QUORUM


class Node:
    """Stands for a host of the driver."""

    def __init__(self, address: str) -> None:
        self.address = address


A, B, C = (Node(f"10.0.0.{number}") for number in (1, 2, 3))


class FakeBound(BoundStatement):  # type: ignore[misc]
    """Stands for the driver's bound statement."""

    def __init__(self, shape: str, values: list[Any]) -> None:
        self.prepared_statement = SimpleNamespace(query_id=shape.encode(), routing_key_indexes=None)
        self.keyspace = "ks"
        self.values = values


class FakeFuture:
    """Stands for the driver's future of a statement that has its answer already."""

    is_schema_agreed = True

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.attempted_hosts = getattr(answer, "asked", [A])
        self.coordinator_host = getattr(answer, "by", None if isinstance(answer, Exception) else A)
        self._errors: dict[Any, Exception] = getattr(answer, "failed", {})
        self._query_traces = None
        self._current_host = self.attempted_hosts[-1]
        self._event = SimpleNamespace(wait=getattr(answer, "wait", lambda _s: True))

    def result(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.answer.response_future = self
        return self.answer


class FakeRaw:
    """Stands for the driver's session: records what it is asked, and gives the answers it was told, in turn."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.sent: list[SimpleNamespace] = []
        self.answers: list[Any] = []
        self.prepare_errors: list[Exception] = []

    def prepare(self, shape: str) -> Any:
        self.prepared.append(shape)
        if self.prepare_errors:
            raise self.prepare_errors.pop(0)
        return SimpleNamespace(bind=lambda values: FakeBound(shape, values))

    def get_execution_profile(self, name: Any) -> Any:
        return SimpleNamespace(request_timeout=TIMEOUTS[name], consistency_level=LOCAL_QUORUM)

    def execute_async(self, query: Any, **options: Any) -> FakeFuture:
        self.sent.append(SimpleNamespace(query=query, **options))
        return FakeFuture(self.answers.pop(0) if self.answers else answer())


def answer(*rows: dict[str, Any], paging_state: bytes | None = None) -> Any:
    return SimpleNamespace(current_rows=list(rows), paging_state=paging_state)


@pytest.fixture
def raw() -> FakeRaw:
    return FakeRaw()


class FakeReplicas:
    """Stands for what is known of the copies: nothing is missing, unless a test says so."""

    def __init__(self) -> None:
        self.shortage: Shortage | None = None

    def find_shortage(self, _keyspace: str, _routing_key: bytes, level: int) -> Shortage | None:
        return None if level == LOCAL_ONE else self.shortage

    def factor_of(self, keyspace: str | None) -> int | None:
        return 3 if keyspace else None


class FakeProber:
    """Stands for the prober: remembers whom it was told to suspect."""

    def __init__(self) -> None:
        self.suspected: list[Any] = []

    def suspect(self, host: Any) -> None:
        self.suspected.append(host)


@pytest.fixture
def replicas() -> FakeReplicas:
    return FakeReplicas()


@pytest.fixture
def prober() -> FakeProber:
    return FakeProber()


@pytest.fixture
def session(raw: FakeRaw, replicas: Any, prober: Any) -> PreparingSession:
    return PreparingSession(
        raw,
        serial_consistency=ConsistencyLevel.SERIAL,
        replicas=replicas,
        prober=prober,
        shortage_timeout_s=SHORTAGE_TIMEOUT_S,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("text", [READ, WRITE, CONDITIONAL, "CREATE TABLE ks.t (id int PRIMARY KEY)"])
def test_after_its_deadline_nothing_is_sent_nor_prepared(
    session: PreparingSession, raw: FakeRaw, clock: list[float], text: str
) -> None:
    with deadline(5):
        clock[0] += 5
        with pytest.raises(DatabaseUnavailable):
            session.execute(text, PARAMETERS)
    assert (raw.prepared, raw.sent) == ([], [])


def test_a_statement_gets_its_profiles_time_or_what_is_left_of_the_deadline(
    session: PreparingSession, raw: FakeRaw, clock: list[float]
) -> None:
    with deadline(10):
        session.execute(READ, PARAMETERS)
        clock[0] += 8.5
        session.execute(READ, PARAMETERS)
    session.execute(READ, PARAMETERS)
    assert [one.timeout for one in raw.sent] == [2.0, 1.5, 2.0]


def test_the_calls_own_time_out_counts_too(session: PreparingSession, raw: FakeRaw, clock: list[float]) -> None:
    session.execute(READ, PARAMETERS, timeout=60)
    session.execute(READ, PARAMETERS, timeout=None)
    with deadline(4):
        clock[0] += 1
        session.execute(READ, PARAMETERS, timeout=60)
        session.execute(READ, PARAMETERS, timeout=None)
    assert [one.timeout for one in raw.sent] == [60, None, 3, 3]


@pytest.mark.parametrize(
    ("text", "profile", "idempotent"),
    [(READ, "read", True), (WRITE, "write", True), (CONDITIONAL, "conditional", False)],
)
def test_what_a_statement_is_decides_its_profile_and_whether_it_may_be_repeated(
    session: PreparingSession, raw: FakeRaw, text: str, profile: str, *, idempotent: bool
) -> None:
    session.execute(text, PARAMETERS)
    [sent] = raw.sent
    assert (sent.execution_profile, sent.query.is_idempotent) == (profile, idempotent)
    assert sent.query.consistency_level is None


def test_the_calls_own_consistency_level_wins(session: PreparingSession, raw: FakeRaw) -> None:
    session.execute(SimpleStatement(READ, consistency_level=ConsistencyLevel.ALL), PARAMETERS)
    session.execute(SimpleStatement(CONDITIONAL, consistency_level=ConsistencyLevel.QUORUM), PARAMETERS)
    assert [one.query.consistency_level for one in raw.sent] == [ConsistencyLevel.ALL, ConsistencyLevel.QUORUM]


@pytest.mark.parametrize("level", [ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL])
def test_a_serial_read_has_the_configured_serial_level_and_the_conditional_writes_way(
    session: PreparingSession, raw: FakeRaw, level: int
) -> None:
    session.execute(SimpleStatement(READ, consistency_level=level), PARAMETERS)
    [sent] = raw.sent
    assert (sent.query.consistency_level, sent.execution_profile) == (ConsistencyLevel.SERIAL, "conditional")


def test_a_shape_is_prepared_once_for_any_values(session: PreparingSession, raw: FakeRaw) -> None:
    for number in range(1, 5):
        session.execute(f"{READ} LIMIT {number}", {"0": number})
    assert raw.prepared == ['SELECT "a" FROM ks.t WHERE "id" = ? LIMIT ?']
    assert [one.query.values for one in raw.sent] == [[number, number] for number in range(1, 5)]


def test_the_number_of_prepared_shapes_is_bounded(
    session: PreparingSession, raw: FakeRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SHAPES", 3)
    for table in "abcd":
        session.execute(f'SELECT "a" FROM ks.{table}')
    assert [shape[-1] for shape in session.shapes] == ["b", "c", "d"]
    session.execute('SELECT "a" FROM ks.a')
    assert raw.prepared.count('SELECT "a" FROM ks.a') == 2


def test_ddl_goes_out_as_it_is(session: PreparingSession, raw: FakeRaw) -> None:
    session.execute("ALTER TABLE ks.t ADD b int")
    [sent] = raw.sent
    assert raw.prepared == []
    assert sent.query.query_string == "ALTER TABLE ks.t ADD b int"
    assert (sent.execution_profile, sent.timeout) == (EXEC_PROFILE_DEFAULT, 30.0)


def test_ddl_on_which_the_nodes_do_not_agree_is_no_success(
    session: PreparingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeFuture, "is_schema_agreed", False)
    with pytest.raises(OutcomeUnknown, match="agree"):
        session.execute("ALTER TABLE ks.t ADD b int")


def test_a_rehearsal_prepares_and_sends_nothing(session: PreparingSession, raw: FakeRaw) -> None:
    with rehearsing():
        assert list(session.execute(READ, PARAMETERS)) == []
        assert session.execute(CONDITIONAL, PARAMETERS).was_applied
        assert session.execute("TRUNCATE ks.t").one() is None
        session.execute(f"BEGIN  BATCH\n  {WRITE}\nAPPLY BATCH;", PARAMETERS)
    assert len(raw.prepared) == 3
    assert raw.sent == []
    assert list(session.prepared_late) == []


def test_a_shape_that_no_rehearsal_knew_is_named(session: PreparingSession) -> None:
    with rehearsing():
        session.execute(READ, PARAMETERS)
    session.execute(READ, PARAMETERS)
    session.execute(WRITE, PARAMETERS)
    assert list(session.prepared_late) == ['INSERT INTO ks.t ("id") VALUES (?)']


def test_pages_are_fetched_one_by_one_each_with_the_time_that_is_left(
    session: PreparingSession, raw: FakeRaw, clock: list[float]
) -> None:
    raw.answers = [answer({"a": 1}, {"a": 2}, paging_state=b"2"), answer(paging_state=b"3"), answer({"a": 3})]
    with deadline(10), tally() as counted:
        rows = session.execute(READ, PARAMETERS)
        assert len(raw.sent) == 1
        clock[0] += 9
        assert [row["a"] for row in rows] == [1, 2, 3]
    assert [one.paging_state for one in raw.sent] == [None, b"2", b"3"]
    assert [one.timeout for one in raw.sent] == [2, 1, 1]
    assert counted.statements == 3


def test_a_page_that_fails_is_translated_like_the_first(session: PreparingSession, raw: FakeRaw) -> None:
    raw.answers = [answer({"a": 1}, paging_state=b"2"), OperationTimedOut()]
    rows = session.execute(READ, PARAMETERS)
    with pytest.raises(DatabaseUnavailable):
        list(rows)


LAG = ReadFailure("broken", consistency=6, error_code_map={"127.0.0.1": 0})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> list[float]:
    taken: list[float] = []

    def sleep(seconds: float) -> None:
        taken.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    return taken


def test_a_read_waits_for_replicas_that_have_yet_to_learn_of_a_schema_change(
    session: PreparingSession, raw: FakeRaw, pauses: list[float]
) -> None:
    raw.answers = [LAG, LAG, answer({"a": 1})]
    with tally() as counted:
        assert list(session.execute(READ, PARAMETERS)) == [{"a": 1}]
    assert (len(pauses), counted.statements) == (2, 3)


def test_a_read_does_not_wait_for_ever_nor_beyond_its_deadline(
    session: PreparingSession, raw: FakeRaw, clock: list[float], pauses: list[float]
) -> None:
    raw.answers = [LAG] * 1000
    with pytest.raises(DatabaseUnavailable):
        session.execute(READ, PARAMETERS)
    assert 5 <= sum(pauses) < 5.2
    del pauses[:]
    with deadline(1), pytest.raises(DatabaseUnavailable):
        session.execute(READ, PARAMETERS)
    assert sum(pauses) <= 1.05
    assert clock[0] < 107


def test_a_write_is_not_repeated_for_a_schema_change(
    session: PreparingSession, raw: FakeRaw, pauses: list[float]
) -> None:
    raw.answers = [LAG]
    with pytest.raises(OutcomeUnknown):
        session.execute(CONDITIONAL, PARAMETERS)
    assert pauses == []


def test_a_failed_statement_is_counted(session: PreparingSession, raw: FakeRaw) -> None:
    raw.answers = [OperationTimedOut()]
    with tally() as counted, pytest.raises(OutcomeUnknown):
        session.execute(CONDITIONAL, PARAMETERS)
    assert counted.statements == 1


def test_the_drivers_error_is_the_cause_of_the_stores(session: PreparingSession, raw: FakeRaw) -> None:
    raw.answers = [InvalidRequest("unconfigured table t")]
    with pytest.raises(SchemaBehind) as raised:
        session.execute(READ, PARAMETERS)
    assert isinstance(raised.value.__cause__, InvalidRequest)
    raw.answers = [InvalidRequest("a mistake")]
    with pytest.raises(InvalidRequest, match="a mistake"):
        session.execute(READ, PARAMETERS)


def timed_out(*asked: Any, failed: dict[Any, Exception] | None = None) -> OperationTimedOut:
    error = OperationTimedOut()
    error.asked, error.failed = list(asked), failed or {}
    return error


def unanswered(meanwhile: Callable[[], None]) -> Any:
    """Stand for an answer that never comes; `meanwhile` happens while it is waited for."""

    def wait(slice_s: float) -> bool:
        assert slice_s == SHORTAGE_TIMEOUT_S, "waited on although copies are gone"
        assert not waited, "waited again although copies are gone"
        waited.append(slice_s)
        meanwhile()
        return False

    waited: list[float] = []
    never = answer()
    never.wait = wait
    return never


def overtaken(answer_of: Any, *asked: Any, by: Any) -> Any:
    answer_of.asked, answer_of.by = list(asked), by
    return answer_of


def test_every_node_that_left_a_statement_unanswered_is_suspected(
    session: PreparingSession, raw: FakeRaw, prober: FakeProber
) -> None:
    raw.answers = [timed_out(A, B, C, failed={B: OSError()})]
    with pytest.raises(DatabaseUnavailable):
        session.execute(READ, PARAMETERS)
    assert prober.suspected == [A, C], "B has answered, by an error"


def test_a_node_that_was_overtaken_is_suspected_and_one_that_was_only_just_asked_is_not(
    session: PreparingSession, raw: FakeRaw, prober: FakeProber
) -> None:
    raw.answers = [overtaken(answer(), A, B, C, by=B), overtaken(answer(), A, B, by=A)]
    session.execute(READ, PARAMETERS)
    session.execute(READ, PARAMETERS)
    assert prober.suspected == [A]


def test_preparing_goes_on_through_another_node_when_one_is_frozen(
    session: PreparingSession, raw: FakeRaw, prober: FakeProber
) -> None:
    raw.prepare_errors = [OperationTimedOut(last_host=B)]
    session.execute(READ, PARAMETERS)
    assert prober.suspected == [B]
    assert len(raw.prepared) == 2


def test_a_conditional_write_goes_to_a_second_node_only_where_its_refusal_is_settled(
    session: PreparingSession, raw: FakeRaw
) -> None:
    session.execute(CONDITIONAL, PARAMETERS)
    with guarded():
        session.execute(CONDITIONAL, PARAMETERS)
        session.execute('UPDATE ks.t SET "a" = "a" + %(0)s', PARAMETERS)
    assert [one.query.is_idempotent for one in raw.sent] == [False, True, False]


def test_a_refusal_of_one_of_several_copies_says_nothing_about_the_others(
    session: PreparingSession, raw: FakeRaw
) -> None:
    refused, applied = {"[applied]": False}, {"[applied]": True}
    raw.answers = [answer(refused), overtaken(answer(applied), A, B, by=B), overtaken(answer(refused), A, B, by=B)]
    with guarded():
        assert not session.execute(CONDITIONAL, PARAMETERS).was_applied
        assert session.execute(CONDITIONAL, PARAMETERS).was_applied
        with pytest.raises(CopyRefused):
            session.execute(CONDITIONAL, PARAMETERS)


def test_with_too_few_copies_an_answer_is_waited_for_briefly_and_the_numbers_are_told(
    session: PreparingSession, raw: FakeRaw, replicas: FakeReplicas
) -> None:
    replicas.shortage = Shortage(required=2, alive=1)
    raw.answers = [OperationTimedOut(), OperationTimedOut()]
    numbers = {"replicas_required": 2, "replicas_alive": 1}
    with pytest.raises(DatabaseUnavailable) as unavailable:
        session.execute(READ, PARAMETERS)
    with pytest.raises(OutcomeUnknown) as unknown:
        session.execute(CONDITIONAL, PARAMETERS)
    assert (unavailable.value.details, unknown.value.details) == (numbers, numbers)
    assert [one.timeout for one in raw.sent] == [SHORTAGE_TIMEOUT_S, SHORTAGE_TIMEOUT_S]


def test_a_read_has_the_level_that_is_asked_for_around_it_unless_it_names_one(
    session: PreparingSession, raw: FakeRaw
) -> None:
    with reading("ALL", may_be_stale=False):
        session.execute(READ, PARAMETERS)
        session.execute(SimpleStatement(READ, consistency_level=ConsistencyLevel.LOCAL_SERIAL), PARAMETERS)
        session.execute(WRITE, PARAMETERS)
    levels = [one.query.consistency_level for one in raw.sent]
    assert levels == [ConsistencyLevel.ALL, ConsistencyLevel.SERIAL, None]


def test_a_read_that_may_be_stale_is_answered_by_one_copy_when_no_quorum_answers_and_says_so(
    session: PreparingSession, raw: FakeRaw
) -> None:
    raw.answers = [OperationTimedOut(), answer({"a": 1}, paging_state=b"2"), answer({"a": 2})]
    with reading("LOCAL_QUORUM", may_be_stale=True), tally() as counted:
        assert [row["a"] for row in session.execute(READ, PARAMETERS)] == [1, 2]
    assert [one.query.consistency_level for one in raw.sent] == [LOCAL_ONE] * 3, "one statement, lowered once"
    assert (list(counted.levels), counted.may_miss) == (["LOCAL_ONE"], True)


def test_a_read_that_may_be_stale_asks_one_copy_at_once_when_too_few_can_be_reached(
    session: PreparingSession, raw: FakeRaw, replicas: FakeReplicas
) -> None:
    replicas.shortage = Shortage(required=2, alive=1)
    with reading("LOCAL_QUORUM", may_be_stale=True):
        session.execute(READ, PARAMETERS)
    assert [(one.query.consistency_level, one.timeout) for one in raw.sent] == [(LOCAL_ONE, 2.0)]


@pytest.mark.parametrize("text", [WRITE, CONDITIONAL])
def test_who_waits_while_copies_go_away_waits_no_longer_and_is_told_the_numbers(
    session: PreparingSession, raw: FakeRaw, replicas: FakeReplicas, text: str
) -> None:
    raw.answers = [unanswered(lambda: setattr(replicas, "shortage", Shortage(required=2, alive=1)))]
    with pytest.raises(OutcomeUnknown) as unknown:
        session.execute(text, PARAMETERS)
    assert unknown.value.details == {"replicas_required": 2, "replicas_alive": 1}


def test_a_read_under_way_while_copies_go_away_is_answered_by_one_copy(
    session: PreparingSession, raw: FakeRaw, replicas: FakeReplicas
) -> None:
    raw.answers = [unanswered(lambda: setattr(replicas, "shortage", Shortage(required=2, alive=1))), answer({"a": 1})]
    with reading("LOCAL_QUORUM", may_be_stale=True), tally() as counted:
        rows = session.execute(READ, PARAMETERS)
    assert (rows.one(), counted.may_miss) == ({"a": 1}, True)


def test_no_other_read_is_lowered(session: PreparingSession, raw: FakeRaw) -> None:
    raw.answers = [OperationTimedOut()] * 3
    with reading("LOCAL_QUORUM", may_be_stale=False), pytest.raises(DatabaseUnavailable):
        session.execute(READ, PARAMETERS)
    with pytest.raises(DatabaseUnavailable):
        session.execute(READ, PARAMETERS)
    serial = SimpleStatement(READ, consistency_level=ConsistencyLevel.SERIAL)
    with reading("LOCAL_QUORUM", may_be_stale=True), pytest.raises(DatabaseUnavailable):
        session.execute(serial, PARAMETERS)
    assert len(raw.sent) == 3


def test_who_answered_at_which_level_and_after_how_many_attempts_is_tallied(
    session: PreparingSession, raw: FakeRaw
) -> None:
    raw.answers = [overtaken(answer(), A, B, C, by=C), answer(), timed_out(A, B)]
    with tally() as counted:
        session.execute(READ, PARAMETERS)
        session.execute(CONDITIONAL, PARAMETERS)
        with pytest.raises(DatabaseUnavailable):
            session.execute(READ, PARAMETERS)
    assert counted.answers == {("10.0.0.3", Kind.READ): 1, ("10.0.0.1", Kind.CONDITIONAL): 1}
    assert counted.coordinators == ["10.0.0.3", "10.0.0.1"]
    assert list(counted.levels) == ["LOCAL_QUORUM", "SERIAL"]
    assert (counted.attempts, counted.may_miss, counted.statements) == (3, False, 3)


def test_attempts_count_for_a_statement_that_nobody_answered_too(session: PreparingSession, raw: FakeRaw) -> None:
    raw.answers = [timed_out(A, B, C)]
    with tally() as counted, reading("LOCAL_QUORUM", may_be_stale=True):
        session.execute(READ, PARAMETERS)
    assert (counted.attempts, counted.coordinators) == (3, ["10.0.0.1"])


def test_a_write_that_could_not_even_be_prepared_has_not_happened(session: PreparingSession, raw: FakeRaw) -> None:
    raw.prepare_errors = [OperationTimedOut(), OperationTimedOut()]
    with pytest.raises(DatabaseUnavailable):
        session.execute(CONDITIONAL, PARAMETERS)
    assert raw.sent == []


def test_a_batch_goes_out_as_its_prepared_statements(session: PreparingSession, raw: FakeRaw) -> None:
    session.execute(f"BEGIN  BATCH\n  {WRITE}\n  {CONDITIONAL}\nAPPLY BATCH;", PARAMETERS)
    [sent] = raw.sent
    assert isinstance(sent.query, BatchStatement)
    assert [is_prepared for is_prepared, _, _ in sent.query._statements_and_parameters] == [True, True]
    assert (sent.execution_profile, sent.query.is_idempotent) == ("conditional", False)


def test_a_condition_that_failed_is_not_applied_however_many_rows_say_so() -> None:
    failed = [{"[applied]": False, "version": 3}, {"[applied]": False, "version": 4}]
    assert not Rows(failed, conditional=True).was_applied
    assert Rows([{"[applied]": True}], conditional=True).was_applied
    assert Rows(failed).was_applied, "a plain statement has no condition"


def test_a_statement_is_traced_only_inside_of_tracing(session: PreparingSession, raw: FakeRaw) -> None:
    session.execute(READ, PARAMETERS)
    with tracing() as noted:
        session.execute(READ, PARAMETERS)
    assert [sent.trace for sent in raw.sent] == [False, True]
    assert [one.asked for one in noted] == [(A.address,)]
