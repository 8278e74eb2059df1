"""The session under cqlengine: prepares each statement shape once, and sends, counts, limits and translates.

Every statement of the store goes through `PreparingSession.execute`. What a statement is, is decided in
`store_manager.database.statements`; how it is routed and retried, in `store_manager.database.policies`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from cassandra import ConsistencyLevel, OperationTimedOut
from cassandra.cluster import _NOT_SET as NOT_SET
from cassandra.cluster import EXEC_PROFILE_DEFAULT
from cassandra.query import BatchStatement, SimpleStatement

from store_manager.database import levels, traces
from store_manager.database.deadlines import remaining_s
from store_manager.database.failures import DRIVER_ERRORS, CopyRefused, ReplicasBehind, translate
from store_manager.database.statements import Batch, Kind, Statement, parse
from store_manager.database.tallies import Answered, count
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from store_manager.database.probes import Prober
    from store_manager.database.replicas import Replicas, Shortage

MAX_SHAPES = 512
"""How many prepared statements are kept; beyond it the oldest is prepared again when it comes back."""

SHORTEST_ATTEMPT_S = 0.01
"""With less than this left, a statement is refused: it could only end unknown."""

LONGEST_SCHEMA_LAG_S = 5.0
SCHEMA_LAG_PAUSE_S = 0.05

log = structlog.get_logger(__name__)

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)
_guarded: ContextVar[bool] = ContextVar("guarded", default=False)


@contextmanager
def rehearsing() -> Iterator[None]:
    """Only prepare what is executed inside: nothing runs, reads are empty, conditions hold."""
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


@contextmanager
def guarded() -> Iterator[None]:
    """Let a conditional write inside be sent to a second node when the first does not answer.

    Only for writes whose guard never comes back, and where `CopyRefused` is settled: see `dao.conditional`.
    """
    token = _guarded.set(True)
    try:
        yield
    finally:
        _guarded.reset(token)


@dataclass
class Sending:
    """A statement that is bound, and how it goes out."""

    query: Any
    kind: Kind
    profile: Any
    level: int
    timeout: Any
    may_be_stale: bool = False

    def lower(self) -> None:
        """Be answered by any one copy from now on, later pages too."""
        self.query.consistency_level = self.level = levels.LAST_RESORT
        self.may_be_stale = False


class Rows:
    """The rows of a statement, as dicts; further pages are fetched while iterating, each within its own time-out."""

    def __init__(
        self,
        current_rows: list[dict[str, Any]],
        *,
        conditional: bool = False,
        paging_state: bytes | None = None,
        fetch: Callable[[bytes], Rows] | None = None,
    ) -> None:
        self.current_rows = current_rows
        self.paging_state = paging_state
        self._conditional = conditional
        self._fetch = fetch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        page: Rows | None = self
        while page is not None:
            yield from page.current_rows
            page = page.read_next()

    def read_next(self) -> Rows | None:
        """Ask for the page that follows, None at the end; it may be asked for again when no answer came."""
        if self.paging_state is None or self._fetch is None:
            return None
        return self._fetch(self.paging_state)

    def one(self) -> dict[str, Any] | None:
        """Return the first row, or None."""
        return self.current_rows[0] if self.current_rows else None

    @property
    def was_applied(self) -> bool:
        """Whether a conditional statement or batch was applied, however many of its conditions failed."""
        return not self._conditional or not self.current_rows or bool(self.current_rows[0]["[applied]"])


class PreparingSession:
    """A driver session in which every SELECT, INSERT, UPDATE, DELETE and BATCH is prepared, once for each shape.

    Knows only what cqlengine asks of a session. `prepared_late` lists the newest shapes that were first prepared
    outside of a rehearsal: at that moment a request waited for it.
    """

    def __init__(
        self, raw: Any, *, serial_consistency: int, replicas: Replicas, prober: Prober, shortage_timeout_s: float
    ) -> None:
        self.raw = raw
        self.prepared_late: deque[str] = deque(maxlen=100)
        self._serial_consistency = serial_consistency
        self._replicas = replicas
        self._prober = prober
        self._shortage_timeout_s = shortage_timeout_s
        self._prepared: dict[str, Any] = {}
        self._preparing = threading.Lock()

    @property
    def cluster(self) -> Any:
        """The driver's cluster."""
        return self.raw.cluster

    @property
    def hosts(self) -> Any:
        """The driver's hosts."""
        return self.raw.hosts

    @property
    def encoder(self) -> Any:
        """The driver's encoder of literals, of which cqlengine registers its types."""
        return self.raw.encoder

    @property
    def keyspace(self) -> str | None:
        """None: every statement names its keyspace."""
        return None

    @property
    def shapes(self) -> tuple[str, ...]:
        """The shapes that are prepared now."""
        return tuple(self._prepared)

    def execute(
        self, query: SimpleStatement | str, parameters: Mapping[str, Any] | None = None, timeout: Any = NOT_SET
    ) -> Rows:
        """Send one of cqlengine's statements within the deadline and return its rows.

        Raises DatabaseUnavailable if it certainly changed nothing, OutcomeUnknown if nobody knows, SchemaBehind if a
        table or column is missing. DDL goes out as it is.
        """
        simple = query if isinstance(query, SimpleStatement) else SimpleStatement(query)
        parsed = parse(simple.query_string)
        if parsed is None:
            return self._pass_through(simple, timeout)
        bound = self._bind(parsed, parameters or {})
        if _rehearsing.get():
            return Rows([])
        bound.is_idempotent = parsed.idempotent or (parsed.kind is Kind.CONDITIONAL and _guarded.get())
        bound.fetch_size = simple.fetch_size
        return self._send(self._route(bound, parsed.kind, simple.consistency_level, timeout))

    def _bind(self, parsed: Statement | Batch, parameters: Mapping[str, Any]) -> Any:
        if isinstance(parsed, Statement):
            return self._prepare(parsed.shape).bind(parsed.values(parameters))
        batch = BatchStatement(parsed.batch_type)
        for child in parsed.statements:
            batch.add(self._prepare(child.shape).bind(child.values(parameters)))
        return batch

    def _route(self, bound: Any, kind: Kind, consistency: int | None, timeout: Any) -> Sending:
        """Set the consistency of the call, if it has one, and decide how the statement goes out."""
        if kind is Kind.READ and consistency is not None and ConsistencyLevel.is_serial(consistency):
            # A read that takes part in Paxos goes where the conditional writes go.
            bound.consistency_level = self._serial_consistency
            return Sending(bound, kind, Kind.CONDITIONAL.value, self._serial_consistency, timeout)
        bound.consistency_level = consistency
        if kind is Kind.CONDITIONAL:
            return Sending(bound, kind, kind.value, self._serial_consistency, timeout)
        reading = levels.at_hand()
        if kind is Kind.READ and consistency is None and reading.level is not None:
            bound.consistency_level = reading.level
            return Sending(bound, kind, kind.value, reading.level, timeout, reading.may_be_stale)
        return Sending(bound, kind, kind.value, consistency or self._level_of(kind.value), timeout)

    def _level_of(self, profile: Any) -> int:
        return int(self.raw.get_execution_profile(profile).consistency_level)

    def _prepare(self, shape: str) -> Any:
        prepared = self._prepared.get(shape)
        if prepared is not None:
            return prepared
        with self._preparing:
            prepared = self._prepared.get(shape)
            if prepared is None:
                prepared = self._ask_to_prepare(shape)
                self._keep(shape, prepared)
        return prepared

    def _ask_to_prepare(self, shape: str) -> Any:
        _check_deadline()
        for last in (False, True):
            try:
                return self.raw.prepare(shape)
            except DRIVER_ERRORS as error:
                if isinstance(error, OperationTimedOut) and error.last_host is not None:
                    self._prober.suspect(error.last_host)
                if last or not isinstance(error, OperationTimedOut):
                    _raise_translated(error, Kind.READ, attempts=0)
        raise AssertionError("unreachable")

    def _keep(self, shape: str, prepared: Any) -> None:
        while len(self._prepared) >= MAX_SHAPES:
            del self._prepared[next(iter(self._prepared))]
        self._prepared[shape] = prepared
        if not _rehearsing.get():
            self.prepared_late.append(shape)
            log.info("statement_prepared_late", shape=shape)

    def _send(self, sending: Sending, paging_state: bytes | None = None) -> Rows:
        result = self._answer(sending, paging_state)
        rows = Rows(
            result.current_rows,
            conditional=sending.kind is Kind.CONDITIONAL,
            paging_state=result.paging_state,
            fetch=partial(self._send, sending),
        )
        if not rows.was_applied and _count_asked(result.response_future) > 1:
            raise CopyRefused("This was sent to several nodes; one of them refused it, perhaps after another wrote it")
        return rows

    def _answer(self, sending: Sending, paging_state: bytes | None) -> Any:
        """Return the driver's result; for a read that may be stale, from any one copy rather than none."""
        if not sending.may_be_stale:
            return self._wait(sending, paging_state)
        if self._find_shortage(sending) is None:
            try:
                return self._wait(sending, paging_state)
            except DatabaseUnavailable as error:
                log.info("read_lowered", reason=error.message)
        sending.lower()
        return self._wait(sending, paging_state)

    def _pass_through(self, simple: SimpleStatement, timeout: Any) -> Rows:
        if _rehearsing.get():
            return Rows([])
        level = self._level_of(EXEC_PROFILE_DEFAULT)
        result = self._wait(Sending(simple, Kind.WRITE, EXEC_PROFILE_DEFAULT, level, timeout))
        if not result.response_future.is_schema_agreed:
            raise OutcomeUnknown("The nodes do not agree on the schema")
        return Rows(result.current_rows)

    def _wait(self, sending: Sending, paging_state: bytes | None = None) -> Any:
        """Send, a read again while a schema change is on its way to the replicas, and return the driver's result."""
        end_s = time.monotonic() + LONGEST_SCHEMA_LAG_S
        while True:
            try:
                return self._attempt(sending, paging_state)
            except ReplicasBehind:
                if time.monotonic() > end_s:
                    raise
            time.sleep(SCHEMA_LAG_PAUSE_S)

    def _attempt(self, sending: Sending, paging_state: bytes | None) -> Any:
        shortage = self._find_shortage(sending)
        limit_s = self._limit_s(sending, shortage)
        started, future, answered = time.perf_counter(), None, None
        try:
            future = self.raw.execute_async(
                sending.query,
                timeout=limit_s,
                execution_profile=sending.profile,
                paging_state=paging_state,
                trace=traces.wanted(),
            )
            with traces.noting(future):
                result = self._await(future, sending, shortage)
            answered = self._describe(sending, future)
        except DRIVER_ERRORS as error:
            shortage = shortage or self._find_shortage(sending)
            _raise_translated(error, sending.kind, _count_asked(future), shortage)
        else:
            return result
        finally:
            if future is not None:
                self._suspect_silent(future)
            count(time.perf_counter() - started, answered, attempts=_count_asked(future))

    def _await(self, future: Any, sending: Sending, shortage: Shortage | None) -> Any:
        """Return the driver's result; wait no longer once too few copies are in reach, of which there were enough.

        What had been asked of a copy that died is answered by nobody, and the coordinator would wait for it.
        """
        while shortage is None and not future._event.wait(self._shortage_timeout_s):
            if self._find_shortage(sending) is not None:
                raise OperationTimedOut("Too few copies are left", last_host=future._current_host)
        return future.result()

    def _find_shortage(self, sending: Sending) -> Shortage | None:
        query = sending.query
        return self._replicas.find_shortage(query.keyspace, query.routing_key, sending.level)

    def _limit_s(self, sending: Sending, shortage: Shortage | None) -> float | None:
        """Return what is less: the call's own time-out, or the profile's, and what is left of the deadline.

        With too few copies in reach, as far as is known, an answer is waited for only briefly.
        """
        own: float | None = sending.timeout
        if sending.timeout is NOT_SET:
            own = self.raw.get_execution_profile(sending.profile).request_timeout
            own = min(own, self._shortage_timeout_s) if shortage and own is not None else own
        rest = _check_deadline()
        return own if rest is None else rest if own is None else min(own, rest)

    def _describe(self, sending: Sending, future: Any) -> Answered:
        coordinator, level = str(future.coordinator_host.address), levels.name_of(sending.level)
        return Answered(coordinator, sending.kind, level, self._may_miss(sending))

    def _may_miss(self, sending: Sending) -> bool:
        if sending.kind is not Kind.READ or ConsistencyLevel.is_serial(sending.level):
            return False
        factor = self._replicas.factor_of(sending.query.keyspace)
        return factor is not None and levels.may_miss(sending.level, self._level_of(Kind.WRITE.value), factor)

    def _suspect_silent(self, future: Any) -> None:
        """Suspect each node that did not answer, or that was overtaken by one that was asked after it."""
        asked = future.attempted_hosts
        answered = future.coordinator_host
        overtaken = asked[: asked.index(answered)] if answered in asked else asked
        for host in overtaken:
            if host not in future._errors:
                self._prober.suspect(host)


def _count_asked(future: Any | None) -> int:
    """Return to how many nodes a statement was sent; the driver lists one twice that first has to prepare it."""
    return len(set(future.attempted_hosts)) if future is not None else 0


def _check_deadline() -> float | None:
    rest = remaining_s()
    if rest is not None and rest < SHORTEST_ATTEMPT_S:
        raise DatabaseUnavailable("The time for this request was over before the database was asked")
    return rest


def _raise_translated(error: Exception, kind: Kind, attempts: int, shortage: Shortage | None = None) -> NoReturn:
    translated = translate(error, kind, attempts, shortage)
    if translated is error:
        raise error
    raise translated from error
