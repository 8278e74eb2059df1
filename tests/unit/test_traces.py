"""How a followed read or write ends, what is waited for, and what the nodes' sentences are read as."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from store_manager.dao import products as rows
from store_manager.dao import traces as written
from store_manager.database import traces as noted
from store_manager.database.failures import TOO_FEW_ALIVE, Failure
from store_manager.database.rings import Member, Place, Range, Ring
from store_manager.database.traces import Sent
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown, ProductNotFound
from store_manager.models import Product
from store_manager.models.products import ACTIVE, RETIRED
from store_manager.services import traces
from store_manager.services.traces import Event, Operation, Outcome, find_parts

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
RING = Ring(
    "store",
    tuple(
        Member(address, address, "dc1", "rack1", "4.1.10", up=address != THREE, tokens=(), owns=1 / 3)
        for address in (ONE, TWO, THREE)
    ),
    (Range(0, 0, ONE, (ONE, TWO, THREE)),),
)
PLACE = Place(ID.bytes, 0, (ONE, TWO, THREE))


def product(state: str = ACTIVE) -> Product:
    return Product(product_id=ID, name="Mouse", sku="A", state=state, version=3)


def sends(answer: Any, failure: Failure | None = None, trace_id: UUID | None = None) -> Callable[..., Any]:
    """A query of a DAO that goes out to node 1, and answers this or raises it."""

    def send(*_: Any) -> Any:
        sent = noted._noted.get()
        assert sent is not None, "it is traced"
        sent.append(Sent((ONE,), ONE, trace_id, 0.002, failure))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send


def follow(operation: Operation = Operation.READ) -> traces.Trace:
    return traces.follow(ID, operation, "QUORUM", RING)


def test_a_read_is_answered_with_the_product_its_place_and_its_replicas_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "find_at", sends(product()))

    found = follow()

    assert (found.outcome, found.product.name if found.product else None) == (Outcome.ANSWERED, "Mouse")
    assert (found.level, found.sent.coordinator, found.place.key) == ("QUORUM", ONE, ID.bytes)
    assert [(part.address, part.up) for part in found.parts] == [(ONE, True), (TWO, True), (THREE, False)]


@pytest.mark.parametrize("operation", Operation)
def test_a_level_that_can_t_be_met_is_an_outcome_in_numbers(
    monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    failing = sends(DatabaseUnavailable("The database did not answer"), Failure(TOO_FEW_ALIVE, 2, 1))
    monkeypatch.setattr(rows, "find_at", failing)
    monkeypatch.setattr(rows, "find", failing)

    found = follow(operation)

    assert (found.outcome, found.failure, found.product) == (Outcome.FAILED, Failure(TOO_FEW_ALIVE, 2, 1), None)
    assert len(found.parts) == 3


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("there", [None, product(RETIRED)])
def test_a_product_that_is_not_shown_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, operation: Operation, there: Product | None
) -> None:
    monkeypatch.setattr(rows, "find_at", sends(there))
    monkeypatch.setattr(rows, "find", sends(there))
    monkeypatch.setattr(rows, "touch", sends(AssertionError("it is written")))

    with pytest.raises(ProductNotFound):
        follow(operation)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (True, Outcome.ANSWERED),
        (False, Outcome.REFUSED),
        (OutcomeUnknown("nobody said"), Outcome.UNKNOWN),
        (DatabaseUnavailable("nobody was asked"), Outcome.FAILED),
    ],
)
def test_a_write_ends_as_its_condition_and_its_coordinator_say(
    monkeypatch: pytest.MonkeyPatch, answer: Any, outcome: Outcome
) -> None:
    monkeypatch.setattr(rows, "find", sends(product()))
    monkeypatch.setattr(rows, "touch", sends(answer))

    assert follow(Operation.WRITE).outcome == outcome


# What is waited for


def row(node: str, elapsed_us: int, activity: str, event_id: UUID) -> Any:
    return SimpleNamespace(source=node, source_elapsed=elapsed_us, activity=activity, event_id=event_id)


class Book:
    """What Cassandra writes down: at each look it is what the next of the pages says."""

    def __init__(self, *pages: tuple[int | None, list[tuple[str, str]]]) -> None:
        self._pages = list(pages)
        self._ids: dict[str, UUID] = {}
        self.looks = 0

    def find_session(self, _: UUID) -> Any:
        self.looks += 1
        return SimpleNamespace(duration=self._page()[0])

    def list_events(self, _: UUID) -> list[Any]:
        found = []
        for number, (node, activity) in enumerate(self._page()[1]):
            key = f"{node} {activity}"
            event_id = self._ids.setdefault(key, UUID(int=uuid4().int & ~(0xFFFF << 64) | 1 << 76))
            found.append(row(node, number * 100, activity, event_id))
        return found

    def _page(self) -> tuple[int | None, list[tuple[str, str]]]:
        return self._pages[min(self.looks, len(self._pages)) - 1]


ANSWERED = (ONE, f"READ_RSP message received from /{TWO}:7000")
TOLD = (TWO, "Executing single-partition query on products")


@pytest.fixture
def gather(monkeypatch: pytest.MonkeyPatch) -> Callable[[Book], traces.Written]:
    def read(book: Book) -> traces.Written:
        monkeypatch.setattr(traces, "PAUSE_S", 0)
        monkeypatch.setattr(traces, "LONGEST_WAIT_S", 0.2)
        monkeypatch.setattr(written, "find_session", book.find_session)
        monkeypatch.setattr(written, "list_events", book.list_events)
        monkeypatch.setattr(rows, "find_at", sends(product(), trace_id=uuid4()))
        return follow().written

    return read


def test_a_trace_is_whole_once_it_has_ended_and_every_node_that_answered_has_told_what_it_did(
    gather: Callable[[Book], traces.Written],
) -> None:
    book = Book((None, []), (None, [ANSWERED]), (1500, [ANSWERED]), (1500, [ANSWERED, TOLD]))

    found = gather(book)

    assert (found.complete, found.duration_ms, len(found.events)) == (True, 1.5, 2)
    assert book.looks == 5, "once more, for whoever is late"


def test_a_node_that_answered_and_never_tells_is_not_waited_for_for_ever(
    gather: Callable[[Book], traces.Written],
) -> None:
    found = gather(Book((1500, [ANSWERED])))

    assert (found.complete, found.duration_ms, len(found.events)) == (False, 1.5, 1)


def test_what_one_look_has_found_is_kept_though_the_next_one_asks_a_replica_that_lacks_it(
    gather: Callable[[Book], traces.Written],
) -> None:
    found = gather(Book((None, [ANSWERED]), (1500, [TOLD])))

    assert (found.complete, len(found.events)) == (True, 2)


def test_traces_that_can_t_be_read_leave_the_answer_without_events(
    monkeypatch: pytest.MonkeyPatch, gather: Callable[[Book], traces.Written]
) -> None:
    book = Book((1500, [ANSWERED]))
    monkeypatch.setattr(book, "find_session", sends_nothing)

    assert gather(book) == traces.NOTHING


def sends_nothing(_: UUID) -> None:
    raise DatabaseUnavailable("no grant")


# What the nodes' sentences mean: the sentences are those of Cassandra 4.1.10, in the order in which it gave them


def parts_of(*events: tuple[str, float, float, str], ring: Ring = RING) -> dict[str, tuple[bool, float | None]]:
    """For each replica, whether it was asked, and when it had answered; events are (node, elapsed, clock, activity)."""
    read = [Event(node, elapsed_ms, activity, clock_ms) for node, elapsed_ms, clock_ms, activity in events]
    return {part.address: (part.asked, part.answered_ms) for part in find_parts(read, ONE, PLACE, ring)}


def test_a_coordinator_that_reads_its_own_copy_has_asked_and_answered_itself_and_nobody_else() -> None:
    assert parts_of(
        (ONE, 5.97, 1005, "Executing single-partition query on products"),
        (ONE, 7.24, 1007, "Acquiring sstable references"),
        (ONE, 11.66, 1011, "Read 1 live rows and 1 tombstone cells"),
    ) == {ONE: (True, 11.66), TWO: (False, None), THREE: (False, None)}


def test_another_replica_has_answered_when_its_answer_is_with_the_coordinator_and_not_when_it_was_sent() -> None:
    assert parts_of(
        (ONE, 0.76, 1000, "reading data from 127.0.0.2/127.0.0.2:7000"),
        (ONE, 1.89, 1001, "Executing single-partition query on products"),
        (ONE, 2.23, 1002, "Sending READ_REQ message to /127.0.0.2:7000 message size 302 bytes"),
        (ONE, 2.31, 1002, "Sending READ_REQ message to /127.0.0.3:7000 message size 303 bytes"),
        (ONE, 4.71, 1004, "Read 1 live rows and 1 tombstone cells"),
        (TWO, 0.17, 1005, "READ_REQ message received from /127.0.0.1:7000"),
        (TWO, 9.82, 1014, "Read 1 live rows and 1 tombstone cells"),
        (TWO, 9.85, 1014, "Enqueuing response to /127.0.0.1:7000"),
        (ONE, 17.22, 1017, "READ_RSP message received from /127.0.0.2:7000"),
        (ONE, 17.91, 1017, "Processing response from /127.0.0.2:7000"),
    ) == {ONE: (True, 4.71), TWO: (True, 17.91), THREE: (True, None)}


def test_a_write_is_answered_by_those_who_promised_accepted_and_committed() -> None:
    assert parts_of(
        (ONE, 2.92, 1002, "Preparing 8bd1c5a1-e87e-11f1-375a-3438f592bfe0 with read"),
        (ONE, 3.17, 1003, "Sending PAXOS2_PREPARE_REQ message to /127.0.0.2:7000 message size 238 bytes"),
        (ONE, 3.2, 1003, "Promising read/write ballot 8bd1c5a1-e87e-11f1-375a-3438f592bfe0"),
        (ONE, 10.79, 1010, "PAXOS2_PREPARE_RSP message received from /127.0.0.2:7000"),
        (ONE, 12.77, 1012, "Accepting proposal Accepted(1401:8bd1c5a1, 17955:key=2570\n    Row: EMPTY)"),
        (ONE, 18.28, 1018, "Committing proposal Committed(1401:8bd1c5a1, 17955:key=2570\n    Row: EMPTY)"),
        (ONE, 32.13, 1032, "PAXOS_COMMIT_RSP message received from /127.0.0.2:7000"),
        (ONE, 46.59, 1046, "CAS successful"),
    ) == {ONE: (True, 18.28), TWO: (True, 32.13), THREE: (False, None)}


@pytest.mark.parametrize(
    "activity",
    [
        "Promising read/write ballot 8bd1c5a1-e87e-11f1-375a-3438f592bfe0",
        "Accepting proposal Accepted(1401:8bd1c5a1, 17955:key=2570\n    Row: EMPTY)",
        "Committing proposal Committed(1401:8bd1c5a1, 17955:key=2570\n    Row: EMPTY)",
    ],
)
def test_a_coordinator_takes_part_in_each_phase_of_a_write_as_a_replica(activity: str) -> None:
    assert parts_of((ONE, 3.2, 1003, activity))[ONE] == (True, 3.2)


def test_an_answer_after_the_coordinator_had_ended_is_late_and_not_early() -> None:
    found = parts_of(
        (ONE, 1.5, 1001, "Sending PAXOS_COMMIT_REQ message to /127.0.0.2:7000 message size 117 bytes"),
        (ONE, 46.5, 1046, "CAS successful"),
        (ONE, 0.25, 1061, "PAXOS_COMMIT_RSP message received from /127.0.0.2:7000"),
    )

    assert found[TWO] == (True, 61.5)


@pytest.mark.parametrize(
    "named", ["/127.0.0.2:7000", "node2/127.0.0.2:7000", "/[0:0:0:0:0:0:0:2]:7000", "node2/[fd00::2]:7001"]
)
def test_however_a_node_is_named_it_is_found_under_the_address_that_the_service_uses(named: str) -> None:
    internal = {"/[0:0:0:0:0:0:0:2]:7000": "::2", "node2/[fd00::2]:7001": "fd00::2"}.get(named, TWO)
    ring = Ring("store", (Member(TWO, internal, "dc1", "rack1", "4.1.10", up=True, tokens=(), owns=1),), ())

    found = parts_of(
        (ONE, 1, 1, f"Sending READ_REQ message to {named} message size 302 bytes"),
        (ONE, 2, 2, f"READ_RSP message received from {named}"),
        ring=ring,
    )

    assert found[TWO] == (True, 2)


def test_what_other_nodes_do_and_say_to_each_other_is_no_answer_to_the_coordinator() -> None:
    assert parts_of(
        (TWO, 0.1, 1000, "Executing single-partition query on products"),
        (TWO, 0.2, 1000, "READ_RSP message received from /127.0.0.3:7000"),
    ) == {ONE: (False, None), TWO: (False, None), THREE: (False, None)}
