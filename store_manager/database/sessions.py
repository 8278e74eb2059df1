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
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from cassandra import ConsistencyLevel, OperationTimedOut
from cassandra.cluster import _NOT_SET as NOT_SET
from cassandra.cluster import EXEC_PROFILE_DEFAULT
from cassandra.query import BatchStatement, SimpleStatement

from store_manager.database import traces
from store_manager.database.deadlines import remaining_s
from store_manager.database.failures import DRIVER_ERRORS, ReplicasBehind, translate
from store_manager.database.statements import Batch, Kind, Statement, parse
from store_manager.database.tallies import count
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from store_manager.database.policies import Suspects

MAX_SHAPES = 512
"""How many prepared statements are kept; beyond it the oldest is prepared again when it comes back."""

SHORTEST_ATTEMPT_S = 0.01
"""With less than this left, a statement is refused: it could only end unknown."""

LONGEST_SCHEMA_LAG_S = 5.0
SCHEMA_LAG_PAUSE_S = 0.05

log = structlog.get_logger(__name__)

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextmanager
def rehearsing() -> Iterator[None]:
    """Only prepare what is executed inside: nothing runs, reads are empty, conditions hold."""
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


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

    def __init__(self, raw: Any, *, suspects: Suspects, serial_consistency: int) -> None:
        self.raw = raw
        self.prepared_late: deque[str] = deque(maxlen=100)
        self._suspects = suspects
        self._serial_consistency = serial_consistency
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
        bound.is_idempotent = parsed.idempotent
        bound.fetch_size = simple.fetch_size
        return self._send(bound, self._route(bound, parsed.kind, simple.consistency_level), parsed.kind, timeout)

    def _bind(self, parsed: Statement | Batch, parameters: Mapping[str, Any]) -> Any:
        if isinstance(parsed, Statement):
            return self._prepare(parsed.shape).bind(parsed.values(parameters))
        batch = BatchStatement(parsed.batch_type)
        for child in parsed.statements:
            batch.add(self._prepare(child.shape).bind(child.values(parameters)))
        return batch

    def _route(self, bound: Any, kind: Kind, consistency: int | None) -> str:
        """Set the consistency of the call, if it has one, and return the execution profile."""
        if kind is Kind.READ and consistency is not None and ConsistencyLevel.is_serial(consistency):
            # A read that takes part in Paxos goes where the conditional writes go.
            bound.consistency_level = self._serial_consistency
            return Kind.CONDITIONAL.value
        bound.consistency_level = consistency
        return kind.value

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
                self._suspect(error)
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

    def _send(self, bound: Any, profile: str, kind: Kind, timeout: Any, paging_state: bytes | None = None) -> Rows:
        result = self._wait(bound, profile, kind, timeout, paging_state)
        return Rows(
            result.current_rows,
            conditional=kind is Kind.CONDITIONAL,
            paging_state=result.paging_state,
            fetch=partial(self._send, bound, profile, kind, timeout),
        )

    def _pass_through(self, simple: SimpleStatement, timeout: Any) -> Rows:
        if _rehearsing.get():
            return Rows([])
        result = self._wait(simple, EXEC_PROFILE_DEFAULT, Kind.WRITE, timeout)
        if not result.response_future.is_schema_agreed:
            raise OutcomeUnknown("The nodes do not agree on the schema")
        return Rows(result.current_rows)

    def _wait(self, query: Any, profile: Any, kind: Kind, timeout: Any, paging_state: bytes | None = None) -> Any:
        """Send, a read again while a schema change is on its way to the replicas, and return the driver's result."""
        end_s = time.monotonic() + LONGEST_SCHEMA_LAG_S
        while True:
            try:
                return self._attempt(query, profile, kind, timeout, paging_state)
            except ReplicasBehind:
                if time.monotonic() > end_s:
                    raise
            time.sleep(SCHEMA_LAG_PAUSE_S)

    def _attempt(self, query: Any, profile: Any, kind: Kind, timeout: Any, paging_state: bytes | None) -> Any:
        limit_s = self._limit_s(profile, timeout)
        started, attempted = time.perf_counter(), []
        try:
            future = self.raw.execute_async(
                query, timeout=limit_s, execution_profile=profile, paging_state=paging_state, trace=traces.wanted()
            )
            attempted = future.attempted_hosts
            with traces.noting(future):
                return future.result()
        except DRIVER_ERRORS as error:
            self._suspect(error)
            _raise_translated(error, kind, attempts=len(attempted))
        finally:
            count(time.perf_counter() - started)

    def _limit_s(self, profile: Any, timeout: Any) -> float | None:
        """Return what is less: the call's own time-out, or the profile's, and what is left of the deadline."""
        own: float | None = self.raw.get_execution_profile(profile).request_timeout if timeout is NOT_SET else timeout
        rest = _check_deadline()
        return own if rest is None else rest if own is None else min(own, rest)

    def _suspect(self, error: Exception) -> None:
        if isinstance(error, OperationTimedOut) and error.last_host is not None:
            self._suspects.add(error.last_host)


def _check_deadline() -> float | None:
    rest = remaining_s()
    if rest is not None and rest < SHORTEST_ATTEMPT_S:
        raise DatabaseUnavailable("The time for this request was over before the database was asked")
    return rest


def _raise_translated(error: Exception, kind: Kind, attempts: int) -> NoReturn:
    translated = translate(error, kind, attempts)
    if translated is error:
        raise error
    raise translated from error
