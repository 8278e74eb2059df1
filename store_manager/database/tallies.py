"""Tallies: how many statements the work at hand sent, and how long it waited for them.

A tally lives in a context variable: a worker thread that runs in a copy of the context (`contextvars.copy_context`)
counts into the same tally. Nothing here sends or logs.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Tally:
    """The number of statements sent, and the seconds that were spent waiting for them, over all threads."""

    def __init__(self) -> None:
        self.statements = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one statement that took `seconds`."""
        with self._lock:
            self.statements += 1
            self.seconds += seconds

    def absorb(self, other: Tally) -> None:
        """Count what another tally has counted."""
        with self._lock:
            self.statements += other.statements
            self.seconds += other.seconds


_current: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tally() -> Iterator[Tally]:
    """Count every statement that is sent inside; a tally around it counts them too, when this one ends."""
    outer, inner = _current.get(), Tally()
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)
        if outer is not None:
            outer.absorb(inner)


def count(seconds: float) -> None:
    """Count one statement of `seconds` in the tally at hand, if there is one."""
    current = _current.get()
    if current is not None:
        current.add(seconds)


def at_hand() -> Tally | None:
    """Return the tally that counts here, for work that another thread does on behalf of this one."""
    return _current.get()
