"""Recovery: finishes what crashes left, and cancels what was not paid in time.

It walks the intents, which were noted before any work on an order began, from a mark on; everything it does may be done
twice and by several at once. A worker that was frozen and wakes up later meets what recovery has decided: each of its
statements is guarded by a version, and none is sent after its request's deadline.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import structlog

from store_manager.dao import listings, recovery
from store_manager.database import deadlines
from store_manager.errors import StoreError
from store_manager.services import clocks, orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

TOGETHER = 100
MOST_PUT_OFF = 10
"""After so many orders of a shard in a row could not be finished, the rest waits: it is the database that is ill."""

STEP_S = 30.0
"""How long the work on one order may take."""

PENDING, ENDING, UNPAID = "pending", "ending", "unpaid"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """When an order counts as left behind: PENDING for so long, or unpaid for so long (None: never)."""

    pending: timedelta
    unpaid: timedelta | None


def limits_of(pending_s: float, unpaid_s: float) -> Limits:
    """Return the limits in seconds as the settings say them: 0 means that unpaid orders never expire."""
    return Limits(timedelta(seconds=pending_s), timedelta(seconds=unpaid_s) if unpaid_s else None)


@dataclass(frozen=True)
class Recovered:
    """An order that was looked at, and whether nothing is left to do on it."""

    purpose: str
    order_id: UUID
    finished: bool


def recover(limits: Limits) -> Iterator[Recovered]:
    """Finish every order that was left behind; yield each one that was looked at.

    A mark moves on over finished orders only, so what could not be finished is met again next time. An order expires
    once it can't be PENDING any more, or a mark could pass it before it is confirmed.
    """
    now = clocks.now()
    left_before = now - limits.pending
    placing = _Purpose(
        PENDING, orders.PLACING, orders.find_left, lambda key: orders.recover(key, pending_before=left_before)
    )
    ending = _Purpose(ENDING, orders.ADVANCING, orders.find_undecided, orders.decide)
    for purpose in (placing, ending):
        yield from _walk(purpose, listings.time_of(left_before))
    if limits.unpaid is not None:
        placed_before = now - limits.unpaid
        unpaid = _Purpose(
            UNPAID, orders.PLACING, orders.find_unpaid, lambda key: orders.expire(key, placed_before=placed_before)
        )
        yield from _walk(unpaid, listings.time_of(min(placed_before, left_before)))


@dataclass(frozen=True)
class _Purpose:
    """Why orders are walked: by which intents, which of many have something left to do, and how one is finished."""

    name: str
    scope: str
    find_left: Callable[[list[UUID]], set[UUID]]
    finish: Callable[[UUID], bool]


def _walk(purpose: _Purpose, until: str) -> Iterator[Recovered]:
    for shard in range(listings.INTENTS.shards):
        yield from _walk_shard(purpose, shard, until)


def _walk_shard(purpose: _Purpose, shard: int, until: str) -> Iterator[Recovered]:
    """Walk a shard's intents; the mark stays before the first order that was put off, the walk goes on to others."""
    mark, put_off, in_a_row = recovery.find_mark(purpose.name, shard), False, 0
    for page in _read_pages(purpose.scope, shard, mark, until):
        left = purpose.find_left([entry.key for entry in page])
        moved = mark
        for entry in page:
            if entry.key in left:
                finished = _finish(entry.key, purpose.finish)
                yield Recovered(purpose.name, entry.key, finished)
                put_off |= not finished
                in_a_row = 0 if finished else in_a_row + 1
            if in_a_row == MOST_PUT_OFF:
                break
            moved = moved if put_off else entry.position
        if moved != mark:
            recovery.move_mark(purpose.name, shard, mark := moved)
        if in_a_row == MOST_PUT_OFF:
            return


def _read_pages(scope: str, shard: int, mark: str, until: str) -> Iterator[list[listings.Entry]]:
    since = date.fromisoformat(mark[:10]) if mark else date.min
    for day in listings.list_days(listings.INTENTS, scope, shard, since=since):
        after = mark
        while page := listings.list_upwards(
            listings.INTENTS, scope, (day, shard), after=after, until=until, limit=TOGETHER
        ):
            yield page
            after = page[-1].position


def _finish(order_id: UUID, finish: Callable[[UUID], bool]) -> bool:
    try:
        with deadlines.deadline(STEP_S):
            return finish(order_id)
    except StoreError as error:
        log.warning("recovery_put_off", order_id=str(order_id), reason=error.message)
    except Exception:  # a row that makes no sense is for an audit to name; it must not keep the others from being met
        log.exception("recovery_put_off", order_id=str(order_id))
    return False


def keep_recovering(limits: Limits, interval_s: float, require_database: Callable[[], object]) -> None:
    """Recover again and again, for as long as the process lives; a database that is away only puts it off."""
    while True:
        time.sleep(interval_s * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the processes, keeps no secret
        try:
            require_database()
            for one in recover(limits):
                log.info("order_recovered", purpose=one.purpose, order_id=str(one.order_id), finished=one.finished)
        except StoreError as error:
            log.warning("recovery_put_off", reason=error.message)
        except Exception:
            log.exception("recovery_failed")
