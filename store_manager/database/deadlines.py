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
    outer, inner = _ends_at.get(), time.monotonic() + seconds
    token = _ends_at.set(inner if outer is None else min(outer, inner))
    try:
        yield
    finally:
        _ends_at.reset(token)


def remaining_s() -> float | None:
    """Return the seconds that are left, negative once the deadline has passed, None without a deadline."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
