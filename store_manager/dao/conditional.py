"""Conditional writes (LWT) whose outcome is known when they return.

A conditional write can time out and still be carried out later, so nothing is inferred from absence. Every write that
goes through here is guarded by a version or an id that never comes back; the identical statement may therefore be sent
again until the database says whether it applied, and once the guard has moved on it can never apply. For the same
reason it may go to a second node before the first has answered (`sessions.guarded`).
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.cqlengine.query import LWTException

from store_manager.database import deadlines
from store_manager.database.failures import CopyRefused, is_shortage
from store_manager.database.sessions import guarded
from store_manager.errors import DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.errors import StoreError

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

    A node that does not answer is overtaken by a second one that is sent the same. `landed` tells, when one of several
    copies was refused, whether another had applied. Raises `OutcomeUnknown` if no answer came in the request's time or
    too few copies can be reached to give one, `DatabaseUnavailable` if nothing was ever written.
    """
    unanswered: OutcomeUnknown | None = None
    for pause_s in pauses():
        refused = False
        try:
            with guarded():
                write()
        except LWTException:
            if unanswered is None:
                return False
            refused = True
        except OutcomeUnknown as unknown:
            unanswered, refused = unknown, isinstance(unknown, CopyRefused)
        except DatabaseUnavailable as error:
            if unanswered is None:
                raise
            _give_up_if_short(error, unanswered)
        else:
            return True
        _give_up_if_short(unanswered, unanswered)
        verdict = _settle(landed, unanswered) if refused else None
        if verdict is not None:
            return verdict
        time.sleep(pause_s)
    raise unanswered or DatabaseUnavailable("The request's time ran out before anything was written.")


def _settle(landed: Callable[[], bool], unanswered: OutcomeUnknown) -> bool | None:
    """Ask whether another copy had applied; None if that can't be read now."""
    try:
        return landed()
    except DatabaseUnavailable as error:
        _give_up_if_short(error, unanswered)
        return None


def _give_up_if_short(error: StoreError, unanswered: OutcomeUnknown) -> None:
    """Leave the outcome unknown when too few copies can be reached to settle it: callers wait for nothing."""
    if is_shortage(error):
        unanswered.details.update(error.details)
        raise unanswered
