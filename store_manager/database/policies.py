"""What the driver does when a node fails: where it sends, whether it sends again, when it connects again.

Nothing here may repeat a statement that is not idempotent.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from cassandra.policies import DCAwareRoundRobinPolicy, HostDistance, RetryPolicy, TokenAwarePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RETRIES = 2
SUSPICION_S = 5.0
"""For how long a node on which a statement of ours timed out is asked last; by then the heartbeat has judged it."""


class IdempotentRetryPolicy(RetryPolicy):
    """Sends idempotent statements again, through another node, at most twice; never any other statement."""

    def _decide(self, query: Any, retry_num: int) -> tuple[int, None]:
        # Without a query the request prepares a statement, which is harmless to repeat.
        repeatable = query is None or query.is_idempotent
        return (self.RETRY_NEXT_HOST if repeatable and retry_num < MAX_RETRIES else self.RETHROW), None

    def on_read_timeout(self, query: Any, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        """Decide after replicas did not answer the coordinator of a read, or of an LWT's read phase."""
        return self._decide(query, retry_num)

    def on_write_timeout(self, query: Any, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        """Decide after replicas did not acknowledge a write to its coordinator."""
        return self._decide(query, retry_num)

    def on_unavailable(self, query: Any, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        """Decide after the coordinator believed that too few replicas are alive."""
        return self._decide(query, retry_num)

    def on_request_error(self, query: Any, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        """Decide after the connection broke, or the coordinator failed."""
        return self._decide(query, retry_num)


class Suspects:
    """The nodes on which a statement of ours has lately timed out: perhaps frozen, and not yet known to be down."""

    def __init__(self) -> None:
        self._until: dict[Any, float] = {}

    def add(self, host: Any) -> None:
        """Suspect this node from now on, for `SUSPICION_S`."""
        self._until[host] = time.monotonic() + SUSPICION_S

    def __contains__(self, host: Any) -> bool:
        return self._until.get(host, 0.0) > time.monotonic()


class ReplicaPolicy(TokenAwarePolicy):
    """Asks the replicas of the local data centre first, in random or in fixed order, then the other nodes.

    Suspects come last. The driver's own policy shuffles the list of replicas that all its policies share, so that a
    fixed order beside a shuffling policy would not stay fixed; this one shuffles a copy.
    """

    def __init__(self, datacenter: str, suspects: Suspects, *, spread: bool) -> None:
        super().__init__(DCAwareRoundRobinPolicy(datacenter))
        self._suspects = suspects
        self._spread = spread

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Any]:
        """Yield the nodes to ask, in order."""
        plan = self._replicas(working_keyspace, query)
        plan += [host for host in self._child_policy.make_query_plan(working_keyspace, query) if host not in plan]
        yield from sorted(plan, key=self._suspects.__contains__)

    def _replicas(self, working_keyspace: str | None, query: Any) -> list[Any]:
        if query is None or query.routing_key is None:
            return []
        keyspace = query.keyspace or working_keyspace
        replicas = self._cluster_metadata.get_replicas(keyspace, query.routing_key)
        alive = [host for host in replicas if host.is_up and self.distance(host) == HostDistance.LOCAL]
        if self._spread:
            random.shuffle(alive)
        return alive
