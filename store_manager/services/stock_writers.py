"""One writer for each product in this process: it carries all waiting operations in one conditional batch.

A conditional write locks its partition for a few round trips, so a hot product sells faster when many sales share one.
Callers submit and wait; a thread of the pool writes, so that no caller does the others' work. Each batch is guarded by
the stock's version: several processes may compete, and the one that loses reads the new balance and tries again.

The balance that a writer starts from may be old (it is what its last batch left, or a plain read): then the batch
simply does not apply. A refusal is never decided on such a balance, only on one that was read at SERIAL.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid5

import structlog

from store_manager.dao import conditional, stocks
from store_manager.database import deadlines, tallies
from store_manager.errors import Contended, OutcomeUnknown, StoreError
from store_manager.models.stocks import (
    DONE,
    HEAD,
    MOVEMENT,
    NO_OPERATION,
    OPERATION,
    Stock,
    StockMovement,
    StockOperation,
)
from store_manager.services import clocks
from store_manager.services.rules import Balance, Operation, Reservation, Verb, Verdict, fold

MOST_TOGETHER = 32
"""How many operations one batch carries at most."""

THREADS = 64
"""How many products this process can write at the same time."""

GATHER_S = 0.001
MOST_GATHERS = 4
"""How long, and how many times at most, a writer lets those come back whom it has just answered."""

SHORTEST_BATCH_S = 2.0
"""How long a batch may at least try, even if its callers are about to give up: an answer lost is work for later."""

DRAIN_FROM = 256
DRAIN_TOGETHER = 128
"""A drain starts once so many movements stand in the partition, and moves so many."""

DRAIN_EVERY = 64
"""After so many new versions there may be another one: movements leave twice as fast as they come, and no faster."""

DRAIN_AFTER = timedelta(seconds=60)
"""Only movements this old leave: no request may live so long, so that no caller still asks for their operations."""

DRAIN_PAUSE_S = 5.0
"""How long a product is left alone when nothing is old enough."""

COPIERS = 8
"""How many products' movements this process can copy at the same time."""

MOST_LEAVING = 1_000
"""Of how many products what was copied is remembered, until a batch takes it away."""

MOST_REMEMBERED = 10_000

HELD_VERBS = (Verb.RELEASE, Verb.FULFIL)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Done:
    """An operation that was carried out: its verdict, and its movement if it made a new version."""

    verdict: Verdict
    movement: StockMovement | None


@dataclass(frozen=True)
class _Waiting:
    operation: Operation
    end_s: float | None
    tally: tallies.Tally | None
    future: Future[Done] = field(default_factory=Future)


@dataclass(frozen=True)
class _Start:
    """What a batch starts from; `sure` if it was read at SERIAL."""

    head: Stock | None
    sure: bool


@dataclass(frozen=True)
class _Rest:
    """Until when a product is left alone by drains: until this version, and until this time."""

    version: int
    end_s: float

    def is_over(self, version: int) -> bool:
        return version >= self.version and time.monotonic() >= self.end_s


class StockWriters:
    """The writers of this process, one for each product with waiting operations."""

    def __init__(self) -> None:
        """Start with nobody waiting; threads are made when they are needed, in a forked process anew."""
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # a fork copies the pool, but none of its threads

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[UUID, deque[_Waiting]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="stock-writer")
        self._rests: dict[UUID, _Rest] = {}
        self._leaving: dict[UUID, stocks.Leaving] = {}
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="stock-drain")

    def submit(self, product_id: UUID, operation: Operation) -> Future[Done]:
        """Queue an operation for its product's writer; wait for the outcome with `await_done`."""
        waiting = _Waiting(operation, deadlines.end_s(), tallies.at_hand())
        with self._lock:
            queue = self._queues.get(product_id)
            if queue is not None:
                queue.append(waiting)
                return waiting.future
            self._queues[product_id] = deque([waiting])
        self._pool.submit(self._run, product_id)
        return waiting.future

    def _run(self, product_id: UUID) -> None:
        """Serve a product until nobody waits."""
        head: Stock | None = None
        # One look at the clock decides who has expired and how long the others' batch may try: a process that was
        # frozen in between, and wakes up when recovery has decided otherwise, must not find itself with time anew.
        while together := self._take(product_id, begun_s := time.monotonic()):
            head = self._serve(product_id, together, head, _end_s(together, begun_s))
            self._gather(product_id, len(together))

    def _gather(self, product_id: UUID, answered: int) -> None:
        """Let those who were just answered come back before the next batch begins, unless one was alone.

        Otherwise the callers of a hot product part into halves that take turns for ever: each batch carries a part of
        them, and each caller waits for the others' batch as well as for its own.
        """
        queue = self._queues[product_id]  # only its own writer takes it away
        waiting = len(queue)
        everybody = min(waiting + answered, MOST_TOGETHER)
        for _ in range(MOST_GATHERS if everybody > 1 else 0):
            if waiting >= everybody:
                return
            time.sleep(GATHER_S)
            before, waiting = waiting, len(queue)
            if waiting == before:
                return  # those who have something else to do are not waited for

    def _take(self, product_id: UUID, now_s: float) -> list[_Waiting]:
        """Take the next operations off the queue; the writer ends, under the lock, once there are none.

        What follows on another operation with the same id (a reservation, and its release by a recovery) waits for the
        next batch: in one, its condition would be on a row that is not there yet, and the database refuses that.
        """
        together: list[_Waiting] = []
        taken: set[UUID] = set()
        with self._lock:
            queue = self._queues[product_id]
            while queue and len(together) < MOST_TOGETHER and queue[0].operation.operation_id not in taken:
                waiting = queue.popleft()
                expired = waiting.end_s is not None and waiting.end_s <= now_s
                if not expired and waiting.future.set_running_or_notify_cancel():
                    together.append(waiting)
                    taken.add(waiting.operation.operation_id)
            if not together:
                del self._queues[product_id]
        return together

    def _serve(self, product_id: UUID, together: list[_Waiting], head: Stock | None, end_s: float) -> Stock | None:
        """Carry operations out and answer their callers; return the head that they left, None if it is not known."""
        try:
            with deadlines.until(end_s), tallies.tally() as used:
                operations = [waiting.operation for waiting in together]
                done, head = _carry_out(product_id, operations, head, self._leaving.pop(product_id, None))
        except BaseException as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            for waiting in together:
                waiting.future.set_exception(copy.copy(error))  # each caller adds what concerns it alone
            return None
        if together[0].tally is not None:  # the statements that all share are counted once
            together[0].tally.absorb(used)
        for waiting, outcome in zip(together, done, strict=True):
            waiting.future.set_result(outcome)
        self._prepare_drain(head)
        return head

    def _prepare_drain(self, head: Stock | None) -> None:
        """Let old movements be copied to the ledger when many have gathered, so that the next batch takes them away.

        Nobody waits for the copies, and the batch costs no round trip more than without.
        """
        if head is None or head.version - head.drained < DRAIN_FROM or head.product_id in self._leaving:
            return
        rest = self._rests.get(head.product_id)
        if rest is not None and not rest.is_over(head.version):
            return
        if len(self._rests) > MOST_REMEMBERED:
            self._rests.clear()
        self._rests[head.product_id] = _Rest(head.version + DRAIN_EVERY, time.monotonic() + DRAIN_PAUSE_S)
        self._copiers.submit(self._copy, head)

    def _copy(self, head: Stock) -> None:
        old = clocks.now() - DRAIN_AFTER
        try:
            movements = [row for row in stocks.list_undrained(head, limit=DRAIN_TOGETHER) if row.created_at < old]
            if len(movements) < DRAIN_TOGETHER:
                return
            leaving = stocks.copy_to_ledger(head, movements)
        except StoreError:
            return  # housekeeping: after the pause it is tried again
        except Exception:  # nobody waits for this thread, so nobody else would tell
            log.exception("copy_to_ledger_failed", product_id=str(head.product_id))
            return
        if len(self._leaving) > MOST_LEAVING:
            self._leaving.clear()  # copied again one day
        self._leaving[head.product_id] = leaving
        self._rests[head.product_id] = _Rest(head.version + DRAIN_EVERY, 0.0)  # there may be more


def await_done(future: Future[Done]) -> Done:
    """Wait for an operation's outcome as long as this request may.

    Raises `Contended` if it was not begun by then, `OutcomeUnknown` if it was, and whatever the writer met.
    """
    try:
        return future.result(deadlines.remaining_s())
    except FutureTimeout:
        if future.cancel():
            raise Contended("Too many others are changing the stock of this product; nothing was changed.") from None
        raise OutcomeUnknown("No answer came in time; the stock may have been changed.") from None


def _end_s(together: list[_Waiting], begun_s: float) -> float:
    """Return until when a batch may try that was begun at this time: as long as any of its callers waits."""
    ends_s = [waiting.end_s for waiting in together]
    known_s = [end_s for end_s in ends_s if end_s is not None]
    if len(known_s) < len(ends_s):
        return begun_s + conditional.LONGEST_WITHOUT_DEADLINE_S
    return max(begun_s + SHORTEST_BATCH_S, *known_s)


def _carry_out(
    product_id: UUID, operations: list[Operation], head: Stock | None, leaving: stocks.Leaving | None
) -> tuple[list[Done], Stock | None]:
    start = None if head is None else _Start(head, sure=False)
    sure = False
    for pause_s in conditional.pauses():
        start = start or _Start(stocks.find(product_id, serial=sure), sure)
        verdicts = fold(_balance(start.head), operations, _read_reservations(product_id, operations, sure=start.sure))
        if not start.sure and any(verdict.refusal for verdict in verdicts):
            start, sure = None, True
            continue
        done = [Done(verdict, _movement(product_id, verdict)) for verdict in verdicts]
        changed = [outcome for outcome in done if outcome.movement is not None]
        if not changed:
            return done, start.head
        after = _head_after(product_id, start.head, changed[-1].verdict.after)
        taken = leaving if leaving is not None and leaving.drained == after.drained else None
        after.drained = taken.last if taken else after.drained
        if stocks.commit(start.head, after, [_change(outcome) for outcome in changed], taken):
            return done, after
        start, sure = None, True
        time.sleep(pause_s)
    raise Contended("Others kept changing the stock of this product; nothing was changed.")


def _read_reservations(product_id: UUID, operations: list[Operation], *, sure: bool) -> dict[UUID, Reservation]:
    """Read the reservations that the operations are about; new ones only once one of them may stand already.

    A reservation that is wrongly taken for new makes the batch not apply: it is written only if it does not exist.
    """
    asked = [
        operation.operation_id
        for operation in operations
        if operation.verb in HELD_VERBS or (sure and operation.is_remembered)
    ]
    rows = stocks.find_operations(product_id, asked)
    return {key: Reservation(row.held, row.operation_state) for key, row in rows.items()}


def _balance(head: Stock | None) -> Balance:
    return Balance() if head is None else Balance(head.on_hand, head.reserved, head.version)


def _head_after(product_id: UUID, head: Stock | None, balance: Balance) -> Stock:
    return Stock(
        product_id=product_id,
        kind=HEAD,
        sequence=0,
        operation_id=NO_OPERATION,
        on_hand=balance.on_hand,
        reserved=balance.reserved,
        version=balance.version,
        updated_at=clocks.now(),
        drained=0 if head is None else head.drained,
    )


def _movement(product_id: UUID, verdict: Verdict) -> StockMovement | None:
    if not verdict.changes:
        return None
    operation = verdict.operation
    own = operation.verb in (Verb.COUNT, Verb.ADJUST)
    reason = operation.reason or (verdict.state if verdict.state == "VOID" else operation.verb.value)
    return StockMovement(
        product_id=product_id,
        kind=MOVEMENT,
        sequence=verdict.after.version,
        operation_id=operation.operation_id,
        movement_id=operation.operation_id if own else uuid5(operation.operation_id, reason),
        delta=verdict.delta,
        reserved_delta=verdict.reserved_delta,
        reason=reason,
        note=operation.note,
        created_at=clocks.now(),
    )


def _change(outcome: Done) -> stocks.Change:
    verdict, movement = outcome.verdict, outcome.movement
    if movement is None:
        raise ValueError("an operation without a movement changes nothing")
    if verdict.state is None:
        return stocks.Change(movement)
    operation = StockOperation(
        product_id=movement.product_id,
        kind=OPERATION,
        sequence=0,
        operation_id=movement.operation_id,
        order_id=verdict.operation.order_id,
        held=verdict.held,
        operation_state=verdict.state,
        changed_at=movement.created_at,
        request_digest=verdict.operation.digest,
        done_version=movement.sequence if verdict.state == DONE else None,
    )
    return stocks.Change(movement, operation, verdict.was)
