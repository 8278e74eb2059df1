"""How many copies of a row can be reached, as far as this process knows.

That is the driver's knowledge (a connection broke, a heartbeat failed) and ours (a node leaves even probes unanswered),
which is ahead of the nodes' own failure detectors and may be wrong: it decides how long to wait and what to say, never
whether to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store_manager.database.levels import copies_needed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_manager.database.policies import Suspects


@dataclass(frozen=True)
class Shortage:
    """Too few copies: so many are needed, so many can be reached."""

    required: int
    alive: int


class Replicas:
    """The copies of the rows of a data centre's keyspaces, and which of them can be reached now."""

    def __init__(self, metadata: Any, datacenter: str, suspects: Suspects) -> None:
        self._metadata = metadata
        self._datacenter = datacenter
        self._suspects = suspects

    def find_shortage(self, keyspace: str | None, routing_key: bytes | None, level: int) -> Shortage | None:
        """Return what is missing for a statement at this level, None if nothing is as far as is known.

        Without a routing key, what is missing whichever row is meant.
        """
        hosts = self._local(self._metadata.all_hosts())
        reachable = list(filter(self._is_reachable, hosts))
        factor = None if len(reachable) == len(hosts) else self.factor_of(keyspace)
        if factor is None:
            return None  # as nearly always: all nodes can be reached
        if routing_key is not None and factor < len(hosts):
            reachable = list(
                filter(self._is_reachable, self._local(self._metadata.get_replicas(keyspace, routing_key)))
            )
        required = copies_needed(level, factor)
        return Shortage(required, len(reachable)) if len(reachable) < required else None

    def count_ranges(self, keyspace: str, level: int) -> tuple[int, int]:
        """Return in how many of the ring's ranges enough copies can be reached for this level, and how many there are.

        No range is known before the keyspace is.
        """
        ring, factor = self._metadata.token_map, self.factor_of(keyspace)
        if ring is None or factor is None:
            return 0, 0
        required = copies_needed(level, factor)
        reachable = [
            sum(map(self._is_reachable, self._local(ring.get_replicas(keyspace, token)))) for token in ring.ring
        ]
        return sum(alive >= required for alive in reachable), len(reachable)

    def factor_of(self, keyspace: str | None) -> int | None:
        """Return how many copies of a row this keyspace wants in the data centre, None if that is not known."""
        known = self._metadata.keyspaces.get(keyspace)
        factors = getattr(known.replication_strategy, "dc_replication_factors", {}) if known else {}
        factor = factors.get(self._datacenter)
        return None if factor is None else int(factor)

    def _local(self, hosts: Iterable[Any]) -> list[Any]:
        return [host for host in hosts if host.datacenter == self._datacenter]

    def _is_reachable(self, host: Any) -> bool:
        return host.is_up is not False and not self._suspects.is_silent(host)
