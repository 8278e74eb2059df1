"""What the driver does when a node fails: where it sends, whether it sends again, when it connects again.

Nothing here may repeat a statement that is not marked idempotent: what is, and what else may carry the mark, is decided
in `store_manager.database.sessions`.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    HostDistance,
    RetryPolicy,
    SpeculativeExecutionPlan,
    SpeculativeExecutionPolicy,
    TokenAwarePolicy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RETRIES = 2
SUSPICION_S = 2.0
"""How long a suspect that answers probes is still asked last: one that is cut off from the other nodes does, too."""


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


FURTHER_NODES = 2
"""To how many nodes more a statement goes that the first one does not answer."""

SILENT_AFTER = 3
"""After how many probes without an answer a node counts as out of reach: one that is only slow would answer."""

CREDIT_SHARE, MOST_CREDIT = 0.1, 50.0
"""Which part of the statements may go to a further node in the long run, and how many may do so at once."""


class ThriftySpeculation(SpeculativeExecutionPolicy):
    """Sends a statement that is marked idempotent to a second node after a while, and to a third.

    When all nodes are slow, that would make them slower: so each statement earns a part of one further sending, and
    without credit nothing goes to a further node.
    """

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self._credit = MOST_CREDIT
        self._lock = threading.Lock()

    def new_plan(self, _keyspace: str | None, _statement: Any) -> SpeculativeExecutionPlan:
        """Return when to send this statement to further nodes."""
        self._add(CREDIT_SHARE)
        return _Plan(self)

    @property
    def has_credit(self) -> bool:
        """Whether one more statement may go to a further node."""
        return self._credit >= 1

    def spend(self) -> None:
        """Note that a statement has gone to a further node."""
        self._add(-1)

    def _add(self, amount: float) -> None:
        with self._lock:
            self._credit = min(MOST_CREDIT, self._credit + amount)


class _Plan(SpeculativeExecutionPlan):
    """When one statement goes to further nodes; the driver asks when it is sent, and each time it has gone to one."""

    def __init__(self, policy: ThriftySpeculation) -> None:
        self._policy = policy
        self._asked = 0

    def next_execution(self, _host: Any) -> float:
        """Return after how long it goes to the next node, -1 for never."""
        if self._asked:
            self._policy.spend()
        self._asked += 1
        return self._policy.delay_s if self._asked <= FURTHER_NODES and self._policy.has_credit else -1


class Suspects:
    """The nodes that lately left a statement of ours unanswered: perhaps frozen, or cut off from the others.

    A suspect is probed (`store_manager.database.probes`). It is *silent* once several probes in a row were left
    unanswered too, until one is answered; then it is asked last for a moment more.
    """

    def __init__(self) -> None:
        self._until_s: dict[Any, float] = {}
        self._unanswered: Counter[Any] = Counter()
        self._lock = threading.Lock()

    def add(self, host: Any) -> bool:
        """Suspect this node from now on; return whether it is to be probed, which it is not already."""
        with self._lock:
            is_probed = self._until_s.get(host) == math.inf
            self._until_s[host] = math.inf
            return not is_probed

    def unanswered(self, host: Any) -> None:
        """Note that this node has left a probe unanswered."""
        with self._lock:
            self._unanswered[host] += 1

    def answered(self, host: Any) -> None:
        """Note that this node has answered a probe."""
        with self._lock:
            del self._unanswered[host]
            self._until_s[host] = time.monotonic() + SUSPICION_S

    def clear(self, host: Any) -> None:
        """Suspect this node no longer."""
        with self._lock:
            del self._unanswered[host]
            self._until_s.pop(host, None)

    def is_silent(self, host: Any) -> bool:
        """Tell whether this node does not answer probes either."""
        return self._unanswered[host] >= SILENT_AFTER

    def __contains__(self, host: Any) -> bool:
        return self._until_s.get(host, 0.0) > time.monotonic()


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
