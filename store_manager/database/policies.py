"""What the driver does when a node fails: where it sends, whether it sends again, when it connects again.

Nothing here may repeat a statement that is not marked idempotent: what is, and what else may carry the mark, is decided
in `store_manager.database.sessions`.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from cassandra.policies import DCAwareRoundRobinPolicy, HostDistance, RetryPolicy, TokenAwarePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RETRIES = 2


class IdempotentRetryPolicy(RetryPolicy):
    """Sends what may be sent again through another node, at most twice; never any other statement."""

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
    """The nodes that left a statement of ours unanswered: perhaps frozen, and not yet known to be down.

    A set for several threads; when a node leaves it is decided by `store_manager.database.probes`.
    """

    def __init__(self) -> None:
        self._hosts: set[Any] = set()
        self._lock = threading.Lock()

    def add(self, host: Any) -> bool:
        """Suspect this node from now on; return whether it was not suspected before."""
        with self._lock:
            is_new = host not in self._hosts
            self._hosts.add(host)
            return is_new

    def clear(self, host: Any) -> None:
        """Suspect this node no longer."""
        with self._lock:
            self._hosts.discard(host)

    def __contains__(self, host: Any) -> bool:
        return host in self._hosts


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
