"""Tallies: how many statements the work at hand sent, how long it waited for them, and who answered at which level.

A tally lives in a context variable: a worker thread that runs in a copy of the context (`contextvars.copy_context`)
counts into the same tally. Nothing here sends or logs.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.statements import Kind


@dataclass(frozen=True)
class Answered:
    """How one statement of a kind was answered: by which node, at which level; whether it may have missed a write."""

    coordinator: str
    kind: Kind
    level: str
    may_miss: bool = False


class Tally:
    """The number of statements sent, and the seconds that were spent waiting for them, over all threads.

    `answers` counts the statements of each kind that each node answered; `levels` are those in use, in their order;
    `attempts` is to how many nodes one statement was sent at most; `may_miss` says whether a read may have missed a
    write.
    """

    def __init__(self) -> None:
        self.statements = 0
        self.seconds = 0.0
        self.attempts = 0
        self.may_miss = False
        self.answers: Counter[tuple[str, Kind]] = Counter()
        self.levels: dict[str, None] = {}
        self._lock = threading.Lock()

    @property
    def coordinators(self) -> list[str]:
        """The nodes that answered, in the order in which they first did."""
        return list(dict.fromkeys(coordinator for coordinator, _ in self.answers))

    def add(self, seconds: float, answered: Answered | None = None, *, attempts: int = 0) -> None:
        """Count one statement that took `seconds` and went to `attempts` nodes, and how it was answered, if it was."""
        with self._lock:
            self.statements += 1
            self.seconds += seconds
            self.attempts = max(self.attempts, attempts)
            if answered is not None:
                self.answers[answered.coordinator, answered.kind] += 1
                self.levels[answered.level] = None
                self.may_miss |= answered.may_miss

    def absorb(self, other: Tally) -> None:
        """Count what another tally has counted."""
        with self._lock:
            self.statements += other.statements
            self.seconds += other.seconds
            self.attempts = max(self.attempts, other.attempts)
            self.may_miss |= other.may_miss
            self.answers += other.answers
            self.levels |= other.levels


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


def count(seconds: float, answered: Answered | None = None, *, attempts: int = 0) -> None:
    """Count one statement of `seconds` in the tally at hand, if there is one."""
    current = _current.get()
    if current is not None:
        current.add(seconds, answered, attempts=attempts)


def at_hand() -> Tally | None:
    """Return the tally that counts here, for work that another thread does on behalf of this one."""
    return _current.get()
