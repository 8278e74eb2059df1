"""Conditional writes (LWT) whose outcome is known when they return.

A conditional write can time out and still be carried out later, so nothing is inferred from absence. Every write that
goes through here is guarded by a version or an id that never comes back; the identical statement may therefore be sent
again until the database says whether it applied, and once the guard has moved on it can never apply.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.cqlengine.query import LWTException

from store_manager.database import deadlines
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERIAL = ConsistencyLevel.LOCAL_SERIAL
"""The level of reads that must see every conditional write; the connection puts the configured serial level in."""

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
LONGEST_WITHOUT_DEADLINE_S = 30.0


def pauses() -> Iterator[float]:
    """Yield pauses that grow and vary, in seconds, until the request's deadline leaves no room for another."""
    end_s = time.monotonic() + LONGEST_WITHOUT_DEADLINE_S
    longest_s = FIRST_PAUSE_S
    while time.monotonic() < end_s:
        pause_s = random.uniform(0, longest_s)  # noqa: S311 - spreads retries, keeps no secret
        remaining_s = deadlines.remaining_s()
        if remaining_s is not None and remaining_s <= pause_s:
            return
        yield pause_s
        longest_s = min(2 * longest_s, LONGEST_PAUSE_S)


def apply(write: Callable[[], Any], landed: Callable[[], bool]) -> bool:
    """Send a guarded conditional write until its outcome is known; return whether it applied.

    `landed` tells, after an attempt without an answer was followed by a refusal, whether that attempt had applied.
    Raises `OutcomeUnknown` if no answer came in the request's time, `DatabaseUnavailable` if nothing was ever sent.
    """
    unanswered: OutcomeUnknown | None = None
    for pause_s in pauses():
        try:
            write()
        except LWTException:
            if unanswered is None:
                return False
            return _settle(landed, unanswered)
        except OutcomeUnknown as unknown:
            unanswered = unknown
        except DatabaseUnavailable:
            if unanswered is None:
                raise
        else:
            return True
        time.sleep(pause_s)
    raise unanswered or DatabaseUnavailable("The request's time ran out before anything was written.")


def _settle(landed: Callable[[], bool], unanswered: OutcomeUnknown) -> bool:
    """Ask whether the unanswered attempt had applied; if that can't be read, its outcome stays unknown."""
    try:
        return landed()
    except DatabaseUnavailable as error:
        raise unanswered from error
