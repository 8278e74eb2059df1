"""Probes: a node that left a statement unanswered is asked something trivial, again and again, until it answers.

So no request has to find out whether a frozen node is still frozen, and none waits for a node that was only slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from store_manager.database.failures import DRIVER_ERRORS

if TYPE_CHECKING:
    from store_manager.database.policies import Suspects

PAUSE_S = 0.2
"""How long to wait after a probe that failed at once, until the driver has judged the node."""

QUESTION = "SELECT key FROM system.local"


class Prober:
    """Suspects nodes, and asks each until it answers or the driver holds it for down."""

    def __init__(self, raw: Any, suspects: Suspects, timeout_s: float) -> None:
        self._raw = raw
        self._suspects = suspects
        self._timeout_s = timeout_s

    def suspect(self, host: Any) -> None:
        """Put a node last from now on, and begin to ask it; one that is suspected is being asked already."""
        if self._suspects.add(host):
            self._raw.submit(self._ask, host)

    def _ask(self, host: Any) -> None:
        question = SimpleStatement(QUESTION, consistency_level=ConsistencyLevel.ONE)
        try:
            future = self._raw.execute_async(question, host=host, timeout=self._timeout_s)
        except DRIVER_ERRORS:
            self._ask_again(host)
        else:
            future.add_callbacks(lambda _: self._suspects.answered(host), lambda _: self._ask_again(host))

    def _ask_again(self, host: Any) -> None:
        if host.is_up is False:
            self._suspects.clear(host)  # nobody asks it any more until it is up again
        else:
            self._suspects.unanswered(host)
            self._raw.cluster.scheduler.schedule(PAUSE_S, self._ask, host)
