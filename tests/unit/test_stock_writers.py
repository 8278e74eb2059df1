"""The writers of a process, without a database: who waits is served, whatever happens around."""

from __future__ import annotations

import multiprocessing
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from store_manager.dao import stocks
from store_manager.dao.stocks import Leaving
from store_manager.database import deadlines
from store_manager.errors import Contended, DatabaseUnavailable, OutcomeUnknown
from store_manager.services import stock_writers
from store_manager.services.rules import Operation, Verb
from store_manager.services.stock_writers import StockWriters, await_done

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from store_manager.models import Stock
    from store_manager.models.stocks import StockMovement
    from store_manager.services.stock_writers import Done


class Rows:
    """The stock of one product, kept in this process: what the DAO promises, and no more."""

    def __init__(self) -> None:
        self.head: Stock | None = None
        self.batches: list[int] = []
        self.carried: list[list[object]] = []
        self.gate: threading.Event | None = None
        self.error: Exception | None = None
        self.unreadable: Exception | None = None
        self.movements: dict[int, StockMovement] = {}
        self.ledger: list[int] = []

    def find(self, _product_id: object, **_: object) -> Stock | None:
        return self.head

    def find_operations(self, _product_id: object, _ids: object) -> dict[object, object]:
        return {}

    def commit(self, before: Stock | None, after: Stock, changes: list[stocks.Change], leaving: Leaving | None) -> bool:
        if self.gate is not None:
            self.gate.wait(10)
        if self.error is not None:
            raise self.error
        if before is not None and self.head is not None and before.drained != self.head.drained:
            return False
        if leaving is not None:
            assert self.head is not None
            assert (leaving.drained, leaving.last) == (self.head.drained, after.drained)
            for version in range(leaving.drained + 1, leaving.last + 1):
                del self.movements[version]
        self.head = after
        self.batches.append(len(changes))
        self.carried.append([change.movement.operation_id for change in changes])
        self.movements |= {change.movement.sequence: change.movement for change in changes}
        return True

    def list_undrained(self, stock: Stock, *, limit: int) -> list[StockMovement]:
        if self.unreadable is not None:
            raise self.unreadable
        span = range(stock.drained + 1, stock.drained + limit + 1)
        return [self.movements[version] for version in span if version in self.movements]

    def copy_to_ledger(self, stock: Stock, movements: list[StockMovement]) -> Leaving:
        self.ledger += [movement.sequence for movement in movements]
        return Leaving(stock.drained, movements[-1].sequence, ())


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    made = Rows()
    for name in ("find", "find_operations", "commit", "list_undrained", "copy_to_ledger"):
        monkeypatch.setattr(stocks, name, getattr(made, name))
    return made


def count(writers: StockWriters, product_id: object, quantity: int = 5) -> Future[Done]:
    return writers.submit(product_id, Operation(Verb.COUNT, uuid4(), quantity))  # type: ignore[arg-type]


def test_those_who_wait_together_are_carried_by_one_batch(rows: Rows) -> None:
    rows.gate = multiprocessing.get_context("fork").Event()  # type: ignore[assignment]
    writers, product_id = StockWriters(), uuid4()
    futures = [count(writers, product_id) for _ in range(70)]
    assert rows.gate is not None
    rows.gate.set()
    versions = [await_done(future).verdict.after.version for future in futures]
    assert versions == list(range(1, 71))
    assert max(rows.batches) == stock_writers.MOST_TOGETHER
    assert len(rows.batches) <= 4


def test_a_reservation_and_its_release_are_never_in_one_batch(rows: Rows) -> None:
    rows.gate = threading.Event()
    writers, product_id, reservation = StockWriters(), uuid4(), uuid4()
    first = count(writers, product_id)
    futures = [
        writers.submit(product_id, Operation(Verb.RESERVE, reservation, 2, order_id=uuid4())),
        writers.submit(product_id, Operation(Verb.RESERVE, uuid4(), 1, order_id=uuid4())),
        writers.submit(product_id, Operation(Verb.RELEASE, reservation)),
        writers.submit(product_id, Operation(Verb.RESERVE, uuid4(), 1, order_id=uuid4())),
    ]
    rows.gate.set()
    for future in (first, *futures):
        await_done(future)
    assert sum(rows.batches) == 5
    assert not any(len(set(ids)) < len(ids) for ids in rows.carried)


class Pauses:
    """What a writer does while it pauses: the first time what is given, then nothing; nobody else's pauses change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.first: Callable[[], object] = lambda: None
        self._sleep = time.sleep
        monkeypatch.setattr(time, "sleep", self.pause)

    def pause(self, seconds: float) -> None:
        if not threading.current_thread().name.startswith("stock-writer"):
            self._sleep(seconds)
            return
        self.count += 1
        if self.count == 1:
            self.first()


def test_who_was_just_answered_comes_along_with_those_who_wait(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, writers, product_id = Pauses(monkeypatch), StockWriters(), uuid4()
    come_back: list[Future[Done]] = []
    pauses.first = lambda: come_back.append(count(writers, product_id))
    rows.gate = threading.Event()
    first = count(writers, product_id)
    while not first.running():
        time.sleep(0.001)
    waiting = [count(writers, product_id) for _ in range(2)]
    rows.gate.set()
    for future in (first, *waiting):
        await_done(future)
    await_done(come_back[0])
    assert rows.batches == [1, 3]


@pytest.mark.usefixtures("rows")
def test_nobody_is_waited_for_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, writers, product_id = Pauses(monkeypatch), StockWriters(), uuid4()
    for number in range(5):
        await_done(count(writers, product_id, number))
    assert pauses.count == 0


def test_an_error_reaches_everybody_who_waits_and_the_next_one_is_served(rows: Rows) -> None:
    writers, product_id = StockWriters(), uuid4()
    rows.error = DatabaseUnavailable("planted")
    for future in [count(writers, product_id) for _ in range(3)]:
        with pytest.raises(DatabaseUnavailable):
            await_done(future)
    rows.error = None
    assert await_done(count(writers, product_id)).verdict.after.on_hand == 5


def test_who_gives_up_in_the_queue_has_changed_nothing_and_who_is_being_written_does_not_know(rows: Rows) -> None:
    rows.gate = multiprocessing.get_context("fork").Event()  # type: ignore[assignment]
    writers, product_id = StockWriters(), uuid4()
    with deadlines.deadline(0.2):
        futures = [count(writers, product_id) for _ in range(stock_writers.MOST_TOGETHER * 2)]
        with pytest.raises(OutcomeUnknown):
            await_done(futures[0])
        with pytest.raises(Contended):
            await_done(futures[-1])
    assert rows.gate is not None
    rows.gate.set()


def test_a_process_that_was_frozen_has_no_time_anew_for_those_who_gave_up(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers, now = StockWriters(), time.monotonic
    take = writers._take

    def freeze(*args: Any) -> Any:
        together = take(*args)
        monkeypatch.setattr(time, "monotonic", lambda: now() + 100)
        return together

    monkeypatch.setattr(writers, "_take", freeze)
    with deadlines.deadline(10):
        future = count(writers, uuid4())
    assert isinstance(future.exception(10), Contended)
    assert rows.batches == []


@pytest.mark.usefixtures("rows")
def test_whatever_happens_while_old_movements_leave_the_next_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(stock_writers, "DRAIN_FROM", 1)
    monkeypatch.setattr(stock_writers, "DRAIN_PAUSE_S", 0.0)
    monkeypatch.setattr(stocks, "list_undrained", fail)
    writers, product_id = StockWriters(), uuid4()
    with deadlines.deadline(10):
        assert [await_done(count(writers, product_id)).verdict.after.version for _ in range(3)] == [1, 2, 3]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Movements leave at once, four at a time, as soon as eight have gathered."""
    monkeypatch.setattr(stock_writers, "DRAIN_AFTER", timedelta(seconds=-1))
    monkeypatch.setattr(stock_writers, "DRAIN_FROM", 8)
    monkeypatch.setattr(stock_writers, "DRAIN_TOGETHER", 4)
    monkeypatch.setattr(stock_writers, "DRAIN_EVERY", 2)


def change_until(writers: StockWriters, product_id: object, rows: Rows, drained: int) -> None:
    end_s = time.monotonic() + 10
    while rows.head is None or rows.head.drained < drained:
        assert time.monotonic() < end_s, "nothing leaves the partition"
        await_done(count(writers, product_id, rows.head.version + 1 if rows.head else 1))


@pytest.mark.usefixtures("hasty")
def test_movements_leave_oldest_first_and_only_once_the_ledger_has_them(rows: Rows) -> None:
    change_until(StockWriters(), uuid4(), rows, 16)
    assert rows.head is not None
    assert rows.ledger[: rows.head.drained] == list(range(1, rows.head.drained + 1))
    assert list(rows.movements) == list(range(rows.head.drained + 1, rows.head.version + 1))


@pytest.mark.usefixtures("hasty")
def test_a_sale_waits_for_no_copy(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    copying, copied = threading.Event(), threading.Event()

    def copy_slowly(stock: Stock, movements: list[StockMovement]) -> Leaving:
        copying.set()
        copied.wait(10)
        return rows.copy_to_ledger(stock, movements)

    monkeypatch.setattr(stocks, "copy_to_ledger", copy_slowly)
    writers, product_id = StockWriters(), uuid4()
    for number in range(1, 9):
        await_done(count(writers, product_id, number))
    assert copying.wait(10)
    with deadlines.deadline(5):
        await_done(count(writers, product_id, 9))
    copied.set()
    change_until(writers, product_id, rows, 4)


@pytest.mark.usefixtures("hasty")
def test_what_another_process_has_drained_meanwhile_is_not_taken_away_twice(rows: Rows) -> None:
    writers, product_id = StockWriters(), uuid4()
    for number in range(1, 9):
        await_done(count(writers, product_id, number))
    end_s = time.monotonic() + 10
    while not writers._leaving:
        assert time.monotonic() < end_s
    assert rows.head is not None
    rows.head.drained = 6
    for version in range(1, 7):
        del rows.movements[version]
    await_done(count(writers, product_id, 9))
    assert rows.head.drained == 6
    change_until(writers, product_id, rows, 10)


@pytest.mark.usefixtures("hasty")
def test_a_copy_that_fails_harms_no_sale_and_is_made_later(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_writers, "DRAIN_PAUSE_S", 0.0)
    rows.unreadable = DatabaseUnavailable("planted")
    writers, product_id = StockWriters(), uuid4()
    for number in range(1, 30):
        await_done(count(writers, product_id, number))
    assert rows.head is not None
    assert rows.head.drained == 0
    rows.unreadable = None
    change_until(writers, product_id, rows, 8)


@pytest.mark.usefixtures("rows")
def test_a_forked_process_serves_although_its_parent_has_used_the_writers() -> None:
    writers, product_id = StockWriters(), uuid4()
    assert await_done(count(writers, product_id)).movement is not None

    def serve_one() -> None:
        with deadlines.deadline(5):
            await_done(count(writers, product_id))

    child = multiprocessing.get_context("fork").Process(target=serve_one)
    child.start()
    child.join(20)
    assert child.exitcode == 0
