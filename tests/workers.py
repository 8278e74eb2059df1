"""Processes that work on the store as servers do, each with a connection of its own; most are killed in the middle.

Nothing in the store knows of it: a process is killed when it is about to send a certain statement, so that every
boundary between two statements is a point of failure, those included that are written one day.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from store_manager import logs
from store_manager.dao import REHEARSALS
from store_manager.dao import stocks as stock_rows
from store_manager.database import deadlines
from store_manager.database.connections import connect, prepare_all
from store_manager.database.sessions import PreparingSession
from store_manager.errors import StoreError
from store_manager.services import reservations, stock_writers, stocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier
    from uuid import UUID

    from store_manager.settings import Settings

TOGETHER = 4
"""How many processes are at work at the same time."""

PATIENCE_S = 60.0

servers = multiprocessing.get_context("forkserver")
servers.set_forkserver_preload(["store_manager.app"])  # one start for all: each process is a fork of it


def kill_at_each_statement(settings: Settings, acts: Iterable[Callable[[], object]]) -> int:
    """Let a process do each act, the n-th killed before its n-th statement, until one lives; return how many died."""
    killed = 0
    for batch in _batches(acts):
        begun = [
            servers.Process(target=live_until, args=(killed + number, settings, act))
            for number, act in enumerate(batch, 1)
        ]
        for process in begun:
            process.start()
        ended = [_end_of(process) for process in begun]
        assert set(ended) <= {0, -signal.SIGKILL}, ended
        if 0 in ended:
            return killed + ended.index(0)
        killed += len(ended)
    raise AssertionError("every process died: there are more statements than acts")


def _batches(acts: Iterable[Callable[[], object]]) -> Iterator[list[Callable[[], object]]]:
    waiting = iter(acts)
    while batch := list(islice(waiting, TOGETHER)):
        yield batch


def _end_of(process: Any) -> int | None:
    process.join(PATIENCE_S)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("a process hangs")
    return int(process.exitcode)


def live_until(statement: int, settings: Settings, act: Callable[[], object]) -> None:
    """Connect and act; the process is killed by SIGKILL when it is about to send its n-th statement."""
    logs.configure("CRITICAL", "console")
    connect(settings)
    attempt, numbers = PreparingSession._attempt, count(1)

    def attempt_or_die(self: PreparingSession, *args: Any) -> Any:
        if next(numbers) == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(self, *args)

    setattr(PreparingSession, "_attempt", attempt_or_die)  # noqa: B010 - mypy knows of no other way
    with deadlines.deadline(PATIENCE_S), suppress(StoreError):
        act()


def adjust_and_drain(product_id: UUID) -> None:
    """Change a stock, so that its movements are copied to the ledger, and once more, so that they leave."""
    stock_writers.DRAIN_FROM, stock_writers.DRAIN_TOGETHER, stock_writers.DRAIN_AFTER = 3, 3, timedelta(0)
    stocks.adjust(product_id, {"delta": 1, "reason": "FOUND"})
    end_s = time.monotonic() + PATIENCE_S
    while product_id not in stocks.WRITERS._leaving:
        assert time.monotonic() < end_s, "nothing was copied"
        time.sleep(0.01)
    stocks.adjust(product_id, {"delta": 1, "reason": "FOUND"})


def buy_at_once(settings: Settings, product_id: UUID, times: int, start: Barrier, told: Connection) -> None:
    """Try to reserve one unit for each of so many orders, 16 at a time.

    Tell the ids of those that got one, and how many batches were lost to others.
    """
    logs.configure("CRITICAL", "console")
    connect(settings)
    prepare_all(REHEARSALS)
    commit, applied = stock_rows.commit, list[bool]()

    def commit_and_count(*args: Any) -> bool:
        applied.append(commit(*args))
        return applied[-1]

    def buy(order_id: UUID) -> bool:
        with deadlines.deadline(PATIENCE_S):
            return reservations.reserve(order_id, {product_id: 1}) == []

    setattr(stock_rows, "commit", commit_and_count)  # noqa: B010 - mypy knows of no other way
    order_ids = [uuid4() for _ in range(times)]
    start.wait(PATIENCE_S)
    with ThreadPoolExecutor(16) as buyers:
        bought = list(buyers.map(buy, order_ids))
    told.send(([order_id for order_id, got in zip(order_ids, bought, strict=True) if got], applied.count(False)))
