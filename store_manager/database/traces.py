"""Traces: which nodes a statement was sent to, which one coordinated it, and under which id Cassandra traces it.

Tracing costs: it is wanted for single statements that people look at. What Cassandra wrote down of a statement is read
by `store_manager.dao.traces`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store_manager.database.failures import DRIVER_ERRORS, Failure, explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID


@dataclass(frozen=True)
class Sent:
    """One statement that went out: `asked` are the coordinators that it was sent to, in order.

    `coordinator` is the one that answered last, `trace_id` finds its trace; both are None if none answered.
    """

    asked: tuple[str, ...]
    coordinator: str | None
    trace_id: UUID | None
    took_s: float
    failure: Failure | None


_noted: ContextVar[list[Sent] | None] = ContextVar("noted", default=None)


@contextmanager
def tracing() -> Iterator[list[Sent]]:
    """Have every statement inside traced by Cassandra, and note it in the list that is given."""
    sent: list[Sent] = []
    token = _noted.set(sent)
    try:
        yield sent
    finally:
        _noted.reset(token)


def wanted() -> bool:
    """Tell whether the statement at hand is to be traced."""
    return _noted.get() is not None


@contextmanager
def noting(future: Any) -> Iterator[None]:
    """Note the statement that this future of the driver stands for, once the block has waited for its result."""
    noted, started = _noted.get(), time.perf_counter()
    failure = None
    try:
        yield
    except DRIVER_ERRORS as error:
        failure = explain(error)
        raise
    finally:
        if noted is not None:
            noted.append(_describe(future, time.perf_counter() - started, failure))


def _describe(future: Any, took_s: float, failure: Failure | None) -> Sent:
    coordinator = future.coordinator_host
    return Sent(
        asked=tuple(dict.fromkeys(str(host.address) for host in future.attempted_hosts)),
        coordinator=str(coordinator.address) if coordinator is not None else None,
        # The last answer is the one that counts: what came before it was sent again.
        trace_id=future._query_traces[-1].trace_id if future._query_traces else None,
        took_s=took_s,
        failure=failure,
    )
