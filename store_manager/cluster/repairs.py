"""Repair: every node in turn compares its part of the ring with the other copies, so that all have the same.

Without it, rows that were deleted while a node was away come back once `gc_grace_seconds` are over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from store_manager.cluster.faults import ManagementError, UpkeepFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from store_manager.cluster.management import Management
    from store_manager.cluster.statuses import ClusterStatus, NodeStatus

# Each node repairs the ranges that it owns first, so that together they repair every range once.
FULL = {
    "primaryRange": "true",
    "incremental": "false",
    "parallelism": "parallel",
    "repairPaxos": "true",
    "ignoreUnreplicatedKeyspaces": "true",
}
PAXOS = {"primaryRange": "true", "repairPaxos": "true", "paxosOnly": "true", "ignoreUnreplicatedKeyspaces": "true"}


@dataclass(frozen=True)
class Progress:
    """How far a repair is: which node repairs which keyspace, and which part of all, from 0 to 1, is done."""

    address: str
    keyspace: str
    reached: float


def pair(status: ClusterStatus, managed: Iterable[Management]) -> list[tuple[NodeStatus, Management]]:
    """Return every node of the ring with its management; raises UpkeepFailed if a node is away or not reached."""
    away = [node.address for node in status.nodes if node.state != "UN"]
    if away:
        raise UpkeepFailed(f"Every node has to be up and normal (UN), and {', '.join(away)} is not: see cluster status")
    found = pair_some(status, managed)
    missing = {node.address for node in status.nodes} - {node.address for node, _ in found}
    if missing:
        raise UpkeepFailed(f"CASSANDRA_JMX_HOSTS leaves out {', '.join(sorted(missing))}: name every node of the ring")
    return found


def pair_some(status: ClusterStatus, managed: Iterable[Management]) -> list[tuple[NodeStatus, Management]]:
    """Return those nodes of the ring whose management was reached, each with it."""
    by_id = {one.host_id: one for one in managed}
    return [(node, by_id[node.host_id]) for node in status.nodes if node.host_id in by_id]


def repair(
    nodes: Sequence[tuple[NodeStatus, Management]], keyspaces: Sequence[str], options: dict[str, str]
) -> Iterator[Progress]:
    """Let one node after the other repair its own ranges of these keyspaces; yield how far it is.

    When it ends, every range was repaired. Raises UpkeepFailed at the first that fails; run it again then.
    """
    jobs = [(node, management, keyspace) for node, management in nodes for keyspace in keyspaces]
    for number, (node, management, keyspace) in enumerate(jobs):
        yield Progress(node.address, keyspace, number / len(jobs))
        try:
            for step in management.repair(keyspace, options):
                part = step.done / step.total if step.total else 0
                yield Progress(node.address, keyspace, (number + min(part, 1)) / len(jobs))
        except ManagementError as error:
            raise UpkeepFailed(f"{error.message}; what was repaired before stays so, run it again") from error
    yield Progress("", "", 1.0)
