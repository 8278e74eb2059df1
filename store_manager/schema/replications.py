"""How a keyspace is replicated, compared with the settings, and how to come from the one to the other.

The number of copies changes by one at a time: then every majority of the new replicas shares a node with every majority
of the old ones, and what was acknowledged is still found. That holds only if the rows have reached all replicas before
the next change, and Cassandra does not tell whether they have; so an operator names each change. On three nodes, 300
rows, three times: from one copy to three a quorum missed 50, 0 and 102 at once, 0, 97 and 63 by way of two with nothing
repaired, and none with every row repaired between.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra.metadata import NetworkTopologyStrategy, SimpleStrategy

from store_manager.schema.steps import REPLICAS, Safety, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from store_manager.settings import Settings

_FULL_REPAIR = "`nodetool repair -full {keyspace}` on every node"
_CAREFUL = "one copy more or less at a time, so that majorities of old and new replicas overlap"


@dataclass(frozen=True)
class Ring:
    """Where rows can be: the nodes (the driver's hosts), and which of them owns which token."""

    hosts: tuple[Any, ...]
    tokens: Any
    """The driver's token map, or None where it knows none."""

    @property
    def nodes(self) -> Counter[str]:
        """How many nodes each data centre has."""
        return Counter(str(host.datacenter) for host in self.hosts)

    def keeps_replicas(self, before: Any, after: Any) -> bool:
        """Return whether each row stays on the same nodes under another strategy."""
        if self.tokens is None:
            return False
        old, new = (
            one.make_token_replica_map(self.tokens.token_to_host_owner, self.tokens.ring) for one in (before, after)
        )
        return all(set(old[token]) == set(new[token]) for token in self.tokens.ring)


def compare_replication(keyspace: Any, settings: Settings, ring: Ring) -> tuple[list[Step], list[str]]:
    """Return the steps that replicate a keyspace (the driver's metadata) as the settings say, and remarks."""
    steps = [] if keyspace.durable_writes else [_make_durable(keyspace.name)]
    strategy = keyspace.replication_strategy
    if settings.cassandra_datacenter not in ring.nodes:
        return [*steps, _refuse_data_centre(keyspace.name, settings, ring)], []
    if isinstance(strategy, SimpleStrategy):
        factors = {settings.cassandra_datacenter: int(strategy.replication_factor)}
        steps.append(_leave_simple_strategy(keyspace.name, strategy, factors, ring))
        if steps[-1].destroys:  # and the repair comes before anything else
            return steps, []
    elif isinstance(strategy, NetworkTopologyStrategy):
        factors = {name: int(factor) for name, factor in strategy.dc_replication_factors.items()}
    else:
        return [*steps, _refuse_strategy(keyspace.name, strategy)], []
    steps += _change_factor(keyspace.name, factors, settings, ring)
    return steps, _tell_others(keyspace.name, factors, settings, ring)


def _make_durable(keyspace: str) -> Step:
    return Step(
        f"make writes of keyspace {keyspace} durable",
        f"ALTER KEYSPACE {keyspace} WITH durable_writes = true",
        "durable_writes is false: what was acknowledged is lost with a node that goes down",
    )


def _leave_simple_strategy(keyspace: str, strategy: Any, factors: Mapping[str, int], ring: Ring) -> Step:
    what = f"replicate keyspace {keyspace} by NetworkTopologyStrategy"
    cql = _write_replication(keyspace, factors)
    if ring.keeps_replicas(strategy, NetworkTopologyStrategy(dict(factors))):
        return Step(what, cql, "SimpleStrategy knows neither data centres nor racks; each row stays where it is")
    return Step(
        what,
        cql,
        "SimpleStrategy knows neither data centres nor racks; rows get other replicas, and reads miss them until then",
        Safety.SLOW,
        _name(keyspace),
        f"{_FULL_REPAIR.format(keyspace=keyspace)}, then `nodetool cleanup`",
    )


def _change_factor(keyspace: str, factors: dict[str, int], settings: Settings, ring: Ring) -> list[Step]:
    data_centre, wanted = settings.cassandra_datacenter, settings.cassandra_replication_factor
    present = factors.get(data_centre, 0)
    if present == wanted:
        return []
    if wanted > present and wanted // 2 + 1 > ring.nodes[data_centre]:
        return [_refuse_factor(keyspace, present, settings, ring)]
    others = {name: factor for name, factor in factors.items() if name in ring.nodes and name != data_centre}
    if present == 0:
        return [_enter_data_centre(keyspace, {**others, data_centre: wanted}, data_centre, sorted(others))]
    following = present + (1 if wanted > present else -1)
    return [_move_by_one(keyspace, {**others, data_centre: following}, data_centre, present, wanted)]


def _move_by_one(keyspace: str, factors: Mapping[str, int], data_centre: str, present: int, wanted: int) -> Step:
    following = factors[data_centre]
    until = "weaker reads than a quorum may miss rows until the repair" if following > present else "a copy is given up"
    follow_up = _FULL_REPAIR.format(keyspace=keyspace)
    if following < present:
        follow_up += ", then `nodetool cleanup`"
    if following != wanted:
        follow_up += f"; only then plan again, for the next of {abs(wanted - following)}"
    return Step(
        f"keep {following} copies of keyspace {keyspace} in {data_centre}",
        _write_replication(keyspace, factors),
        f"there are {present}, CASSANDRA_REPLICATION_FACTOR is {wanted}; {_CAREFUL}; {until}",
        Safety.SLOW,
        _name(keyspace),
        follow_up,
    )


def _enter_data_centre(keyspace: str, factors: Mapping[str, int], data_centre: str, others: list[str]) -> Step:
    source = f" -- {others[0]}" if others else ""
    return Step(
        f"replicate keyspace {keyspace} in {data_centre} too",
        _write_replication(keyspace, factors),
        f"nothing of it is in {data_centre} (CASSANDRA_DATACENTER), and reads there find nothing until then",
        Safety.SLOW,
        _name(keyspace),
        f"`nodetool rebuild{source}` on every node of {data_centre}, before any service uses it",
    )


def _refuse_data_centre(keyspace: str, settings: Settings, ring: Ring) -> Step:
    return Step(
        f"replicate keyspace {keyspace} in {settings.cassandra_datacenter}",
        "",
        f"no node is in {settings.cassandra_datacenter} (CASSANDRA_DATACENTER); nodes are in {_list(ring.nodes)}",
        Safety.REFUSED,
    )


def _refuse_factor(keyspace: str, present: int, settings: Settings, ring: Ring) -> Step:
    wanted, nodes = settings.cassandra_replication_factor, ring.nodes[settings.cassandra_datacenter]
    return Step(
        f"keep {wanted} copies of keyspace {keyspace} in {settings.cassandra_datacenter}",
        "",
        f"there are {present}, CASSANDRA_REPLICATION_FACTOR is {wanted}: a quorum of {wanted // 2 + 1} copies can't be "
        f"reached on {nodes} node(s); add nodes first, or change the setting",
        Safety.REFUSED,
    )


def _refuse_strategy(keyspace: str, strategy: Any) -> Step:
    return Step(
        f"replicate keyspace {keyspace} by NetworkTopologyStrategy",
        "",
        f"it is replicated by {getattr(strategy, 'name', type(strategy).__name__)}, of which nothing is known here",
        Safety.REFUSED,
    )


def _tell_others(keyspace: str, factors: Mapping[str, int], settings: Settings, ring: Ring) -> list[str]:
    others = {name: factor for name, factor in factors.items() if name != settings.cassandra_datacenter}
    return [
        f"Keyspace {keyspace} has {factor} copies in data centre {name} too"
        + ("" if name in ring.nodes else ", which has no node: the next change of replication leaves it out")
        for name, factor in sorted(others.items())
    ]


def _write_replication(keyspace: str, factors: Mapping[str, int]) -> str:
    exported = NetworkTopologyStrategy(dict(factors)).export_for_schema()
    return f"ALTER KEYSPACE {keyspace} WITH replication = {exported}"


def _name(keyspace: str) -> str:
    return f"{REPLICAS}:{keyspace}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
