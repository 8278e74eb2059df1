"""Deadlines: how long the work at hand may still take, from the request down through every attempt.

Only the clock stands here; who gives up, and how, is decided where statements are sent
(`store_manager.database.sessions`).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ends_at: ContextVar[float | None] = ContextVar("deadline_ends_at", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let everything inside end within `seconds` from now, or earlier if a deadline around it is earlier."""
    with until(time.monotonic() + seconds):
        yield


@contextmanager
def until(end_s: float) -> Iterator[None]:
    """Let everything inside end at `end_s` of the monotonic clock, or earlier if a deadline around it is earlier.

    A moment survives a freeze of the process; a duration that was computed before one and used after it does not.
    """
    outer = _ends_at.get()
    token = _ends_at.set(end_s if outer is None else min(outer, end_s))
    try:
        yield
    finally:
        _ends_at.reset(token)


def end_s() -> float | None:
    """Return when the deadline is, by the monotonic clock; None without a deadline."""
    return _ends_at.get()


def remaining_s() -> float | None:
    """Return the seconds that are left, negative once the deadline has passed, None without a deadline."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
