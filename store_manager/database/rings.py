"""The ring as the driver knows it: who is a member, which tokens each has, and which nodes hold a key.

A snapshot, without I/O. How the nodes are at the moment is asked in `store_manager.database.surveys`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cassandra.metadata import Murmur3Token

from store_manager.rings import shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Member:
    """One node of the cluster.

    `internode_address` is what the nodes call it among themselves, in their traces too; `up` is what the driver holds
    it for, None where it leaves a node alone, as in another data centre; `owns` is its part of the ring, from 0 to 1,
    replicas not counted.
    """

    address: str
    internode_address: str
    datacenter: str
    rack: str
    release: str
    up: bool | None
    tokens: tuple[int, ...]
    owns: float


@dataclass(frozen=True)
class Range:
    """The tokens after `after`, up to and with `until`: whose they are, and which nodes hold their rows, in order."""

    after: int
    until: int
    owner: str
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a key is found: its token, and the nodes that hold it, in order."""

    key: bytes
    token: int
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class Ring:
    """All members by address, and all ranges in the order of their tokens; the last one wraps round."""

    keyspace: str
    members: tuple[Member, ...]
    ranges: tuple[Range, ...]

    def locate(self, key: bytes) -> Place:
        """Return where the partition with this serialised key is."""
        token = int(Murmur3Token.from_key(key).value)
        if not self.ranges:
            return Place(key, token, ())
        # A range ends with its token: a key on it is inside. Beyond the last token the ring begins anew.
        position = bisect_left([one.until for one in self.ranges], token) % len(self.ranges)
        return Place(key, token, self.ranges[position].replicas)

    def name(self, internode_address: str) -> str:
        """Return the address of the node that the others call so; the same if it is no member."""
        for member in self.members:
            if internode_address == member.internode_address:
                return member.address
        return internode_address


def read_ring(raw: Any, keyspace: str) -> Ring:
    """Return the ring as the driver knows it now, with the replicas of this keyspace."""
    metadata = raw.cluster.metadata
    owners = dict(metadata.token_map.token_to_host_owner) if metadata.token_map else {}
    tokens: dict[str, list[int]] = {}
    for token, host in sorted(owners.items()):
        tokens.setdefault(str(host.address), []).append(int(token.value))
    owned = shares(tokens)
    members = [
        _describe(host, tokens.get(str(host.address), []), owned.get(str(host.address), 0.0))
        for host in metadata.all_hosts()
    ]
    return Ring(keyspace, tuple(sorted(members, key=_by_place)), tuple(_find_ranges(metadata, owners, keyspace)))


def _by_place(member: Member) -> tuple[Any, ...]:
    return member.datacenter, member.rack, member.tokens[:1], member.address


def _describe(host: Any, tokens: list[int], owns: float) -> Member:
    return Member(
        address=str(host.address),
        internode_address=str(host.broadcast_address or host.address),
        datacenter=str(host.datacenter),
        rack=str(host.rack),
        release=str(host.release_version),
        up=host.is_up,
        tokens=tuple(tokens),
        owns=owns,
    )


def _find_ranges(metadata: Any, owners: Mapping[Any, Any], keyspace: str) -> Iterable[Range]:
    ordered = sorted(owners)
    for position, token in enumerate(ordered):
        replicas = metadata.token_map.get_replicas(keyspace, token)
        yield Range(
            after=int(ordered[position - 1].value),
            until=int(token.value),
            owner=str(owners[token].address),
            replicas=tuple(str(host.address) for host in replicas),
        )
