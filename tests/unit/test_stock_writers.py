"""The writers of a process, without a database: who waits is served, whatever happens around."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from store_manager.dao import stocks
from store_manager.database import deadlines
from store_manager.errors import Contended, DatabaseUnavailable, OutcomeUnknown
from store_manager.services import stock_writers
from store_manager.services.rules import Operation, Verb
from store_manager.services.stock_writers import StockWriters, await_done

if TYPE_CHECKING:
    from concurrent.futures import Future
    from threading import Event

    from store_manager.models import Stock
    from store_manager.services.stock_writers import Done


class Rows:
    """The stock of one product, kept in this process: what the DAO promises, and no more."""

    def __init__(self) -> None:
        self.head: Stock | None = None
        self.batches: list[int] = []
        self.gate: Event | None = None
        self.error: Exception | None = None

    def find(self, _product_id: object, **_: object) -> Stock | None:
        return self.head

    def find_operations(self, _product_id: object, _ids: object) -> dict[object, object]:
        return {}

    def commit(self, _before: object, after: Stock, changes: list[object]) -> bool:
        if self.gate is not None:
            self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.head = after
        self.batches.append(len(changes))
        return True


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    made = Rows()
    for name in ("find", "find_operations", "commit"):
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
