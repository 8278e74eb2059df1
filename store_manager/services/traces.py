"""Follows one read or one write of a product through the cluster: who was asked, who answered, what each node did.

What Cassandra writes down of a statement is text for people; which of it says that a replica was asked or has
answered is known here and nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from store_manager.dao import products as rows
from store_manager.dao import traces
from store_manager.database import deadlines
from store_manager.database.traces import Sent, tracing
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, ProductNotFound
from store_manager.services.products import is_on_sale

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from store_manager.database.failures import Failure
    from store_manager.database.rings import Place, Ring
    from store_manager.models import Product
    from store_manager.models.traces import TraceEvent

LONGEST_WAIT_S = 2.0
"""For how long the nodes may take to write down what they did, after the statement was answered."""

PAUSE_S = 0.03

_UUID_TICKS_IN_MS = 10_000
_CLOCKS_DIFFER_MS = 5
"""The clock in an event's id counts whole milliseconds, and is read a moment after the time that has elapsed."""

NOBODY = Sent(asked=(), coordinator=None, trace_id=None, took_s=0.0, failure=None)


class Operation(StrEnum):
    """What can be followed."""

    READ = "READ"
    WRITE = "WRITE"


class Outcome(StrEnum):
    """How it ended: `REFUSED` is a write whose condition no longer held, `UNKNOWN` one of which nobody can tell."""

    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Event:
    """What one node did: `elapsed_ms` after it began to work for this statement, at `clock_ms` of its clock.

    A node that hears of a statement again begins anew: so does a coordinator that has answered already.
    """

    node: str
    elapsed_ms: float
    activity: str
    clock_ms: float


@dataclass(frozen=True)
class Part:
    """What one replica did: `answered_ms` is how long after the coordinator began it had this replica's last answer."""

    address: str
    up: bool | None
    asked: bool = False
    answered_ms: float | None = None


@dataclass(frozen=True)
class Written:
    """What Cassandra wrote down of a statement; `complete` if every node that answered has told what it did."""

    duration_ms: float | None
    complete: bool
    events: tuple[Event, ...]


NOTHING = Written(duration_ms=None, complete=False, events=())


@dataclass(frozen=True)
class Trace:
    """One read or write of a product, followed through the cluster; `parts` are its replicas, in order."""

    product_id: UUID
    product: Product | None
    place: Place
    operation: Operation
    level: str
    outcome: Outcome
    sent: Sent
    written: Written
    parts: tuple[Part, ...]

    @property
    def failure(self) -> Failure | None:
        """Why it failed, None if it did not."""
        return self.sent.failure


def follow(product_id: UUID, operation: Operation, level: str, ring: Ring) -> Trace:
    """Read a product, or write it as it is, at this consistency level, and tell who answered.

    A failure to reach the level is an outcome like any other. Raises `ProductNotFound`.
    """
    with tracing() as sent:
        act = _read if operation is Operation.READ else _write
        product, outcome = act(product_id, level)
    if outcome is not Outcome.FAILED and not is_on_sale(product):
        raise ProductNotFound(f"There is no product {product_id}.", product_id=str(product_id))
    place = ring.locate(product_id.bytes)
    last = sent[-1] if sent else NOBODY
    written = _gather(last, ring)
    return Trace(
        product_id=product_id,
        product=product,
        place=place,
        operation=operation,
        level=level,
        outcome=outcome,
        sent=last,
        written=written,
        parts=find_parts(written.events, last.coordinator, place, ring),
    )


def _read(product_id: UUID, level: str) -> tuple[Product | None, Outcome]:
    try:
        return rows.find_at(product_id, level), Outcome.ANSWERED
    except DatabaseUnavailable:
        return None, Outcome.FAILED


def _write(product_id: UUID, level: str) -> tuple[Product | None, Outcome]:
    try:
        product = rows.find(product_id)
    except DatabaseUnavailable:
        return None, Outcome.FAILED
    if product is None or not is_on_sale(product):
        return None, Outcome.REFUSED
    try:
        applied = rows.touch(product, level)
    except OutcomeUnknown:
        return product, Outcome.UNKNOWN
    except DatabaseUnavailable:
        return product, Outcome.FAILED
    return product, Outcome.ANSWERED if applied else Outcome.REFUSED


def _gather(sent: Sent, ring: Ring) -> Written:
    """Read what the nodes have written down, again and again until it is whole or the time for it is over."""
    if sent.trace_id is None:
        return NOTHING
    found: dict[UUID, TraceEvent] = {}
    gathered = NOTHING
    for _ in _looks():
        known = len(found)
        try:
            session = traces.find_session(sent.trace_id)
            found.update({event.event_id: event for event in traces.list_events(sent.trace_id)})
        except DatabaseUnavailable:
            continue
        ended = session is not None and session.duration is not None
        events = tuple(_event(found[event_id], ring) for event_id in sorted(found, key=lambda one: one.time))
        gathered = Written(
            duration_ms=session.duration / 1000 if session is not None and ended else None,
            # A node that has nothing more to tell is not told from one that is late, so all are asked once more.
            complete=ended and len(found) == known and not silent_among(events, sent.coordinator, ring),
            events=events,
        )
        if gathered.complete:
            break
    return gathered


def _looks() -> Iterator[None]:
    rest_s = deadlines.remaining_s()
    end_s = time.monotonic() + (LONGEST_WAIT_S if rest_s is None else min(LONGEST_WAIT_S, rest_s / 2))
    while time.monotonic() < end_s:
        yield
        time.sleep(PAUSE_S)


def _event(row: TraceEvent, ring: Ring) -> Event:
    return Event(
        node=ring.name(str(row.source)),
        elapsed_ms=(row.source_elapsed or 0) / 1000,
        activity=str(row.activity),
        clock_ms=row.event_id.time / _UUID_TICKS_IN_MS,
    )


# What the nodes' sentences mean

_PEER = r"[^/ ]*/(?:(?P<v4>[\d.]+)|\[(?P<v6>[\da-fA-F.:]+)\]):\d+"
_ASKED = re.compile(rf"Sending \w+_REQ message to {_PEER}")
_ANSWERED = re.compile(rf"(?:\w+_RSP message received|Processing response) from {_PEER}")
_OWN_WORK = re.compile(
    r"Executing single-partition query|Read \d+ live|Promising |Permitting |Accepting proposal|Committing proposal"
)
"""What a coordinator writes down when it does a replica's work itself, without a message."""


def find_parts(events: Iterable[Event], coordinator: str | None, place: Place, ring: Ring) -> tuple[Part, ...]:
    """Return what each replica had to do with a statement, in the order of the replicas."""
    asked: set[str] = set()
    answered: dict[str, float] = {}
    of_coordinator = [event for event in events if event.node == coordinator]
    began_ms = min((event.clock_ms - event.elapsed_ms for event in of_coordinator), default=0.0)
    for event in of_coordinator:
        own = event.node if _OWN_WORK.match(event.activity) else ""
        if one := own or _peer(_ASKED, event, ring):
            asked.add(one)
        if one := own or _peer(_ANSWERED, event, ring):
            answered[one] = _since(began_ms, event)
    up = {member.address: member.up for member in ring.members}
    return tuple(
        Part(address, up.get(address, False), address in asked | set(answered), answered.get(address))
        for address in place.replicas
    )


def _since(began_ms: float, event: Event) -> float:
    """Return how long after the coordinator began this was, though it may have begun anew since."""
    by_clock_ms = event.clock_ms - began_ms
    return event.elapsed_ms if by_clock_ms - event.elapsed_ms < _CLOCKS_DIFFER_MS else by_clock_ms


def silent_among(events: Iterable[Event], coordinator: str | None, ring: Ring) -> set[str]:
    """Return the nodes that have answered the coordinator but have not yet written down what they did."""
    events = list(events)
    answered = {peer for event in events if event.node == coordinator and (peer := _peer(_ANSWERED, event, ring))}
    return answered - {event.node for event in events}


def _peer(sentence: re.Pattern[str], event: Event, ring: Ring) -> str:
    """Return the address of the node that the sentence is about, nothing if it is another sentence."""
    found = sentence.match(event.activity)
    return ring.name(str(ipaddress.ip_address(found["v4"] or found["v6"]))) if found else ""
