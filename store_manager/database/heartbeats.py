"""Who is alive in whose eyes: judged by the heartbeats that every node passes on of every other one.

A heartbeat is a number that grows for as long as its node lives; a number that stands still is only remembered. No I/O.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STILL_S = 5.0
"""A heartbeat that stands still for this long is that of a node that is away; in health it moves each second or two."""

CLOSE = 8
"""A heartbeat this close to what its node says of itself at the same moment has just been passed on."""


@dataclass(frozen=True, order=True)
class Beat:
    """A heartbeat; `generation` tells the starts of a node apart, within one `number` grows."""

    generation: int
    number: int


@dataclass(frozen=True)
class _Watched:
    beat: Beat
    since: float
    has_moved: bool


class Heartbeats:
    """Remembers from look to look when each heartbeat moved. One for each process; many threads may look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._looking = threading.Lock()

    def judge(self, told: Mapping[str, Mapping[str, Beat]]) -> dict[str, dict[str, bool | None]]:
        """Return for each node that told something whom of the others it sees alive; None: not known yet.

        `told` holds for each node that answered the heartbeat of every node that it knows, its own included.
        """
        with self._looking:
            now = self._clock()
            return {
                observer: {
                    subject: self._sees((observer, subject), beat, told.get(subject, {}).get(subject), now)
                    for subject, beat in beats.items()
                    if subject != observer
                }
                for observer, beats in told.items()
            }

    def _sees(self, pair: tuple[str, str], beat: Beat, own: Beat | None, now: float) -> bool | None:
        before = self._watched.get(pair)
        if before is None or beat != before.beat:
            before = self._watched[pair] = _Watched(beat, now, has_moved=before is not None)
        if own is not None and own.generation == beat.generation and own.number - beat.number <= CLOSE:
            return True
        if now - before.since > STILL_S:
            return False
        return True if before.has_moved else None
