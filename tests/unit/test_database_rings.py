"""Where a key is on the ring, whose a range is, and what is read of it from the driver."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from cassandra.metadata import KeyspaceMetadata, Metadata, Murmur3Token
from cassandra.policies import SimpleConvictionPolicy
from cassandra.pool import Host

from store_manager.database.rings import Member, Range, Ring, read_ring

FIRST, THIRD = -(2**63), 2**64 // 3
KEY = UUID("0f8fad5b-d9cb-469f-a165-70867728950e").bytes


def ring_of(*untils: int) -> Ring:
    """A ring whose ranges end with these tokens, each held by a node of its own."""
    ranges = tuple(
        Range(after=untils[number - 1], until=until, owner=f"n{number}", replicas=(f"n{number}",))
        for number, until in enumerate(untils)
    )
    return Ring("store", (), ranges)


def home_of(token: int, *untils: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Murmur3Token, "from_key", lambda _: Murmur3Token(token))
    [replica] = ring_of(*untils).locate(KEY).replicas
    return replica


@pytest.mark.parametrize(
    ("token", "home"),
    [
        (-100, "n0"),  # a range has its last token
        (-99, "n1"),
        (0, "n1"),
        (1, "n2"),
        (100, "n2"),
        (101, "n0"),  # beyond the last token the ring begins anew
        (-101, "n0"),
        (-(2**63), "n0"),
        (2**63 - 1, "n0"),
    ],
)
def test_a_key_is_in_the_range_that_ends_with_its_token_or_after_it(
    token: int, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home_of(token, -100, 0, 100, monkeypatch=monkeypatch) == home


def test_a_key_has_the_token_that_cassandra_gives_it() -> None:
    place = ring_of(0).locate(KEY)

    assert (place.key, place.token, place.replicas) == (KEY, Murmur3Token.from_key(KEY).value, ("n0",))


def test_before_the_tokens_are_known_nobody_holds_a_key() -> None:
    assert Ring("store", (), ()).locate(KEY).replicas == ()


def member(address: str, internode_address: str) -> Member:
    return Member(address, internode_address, "dc1", "rack1", "4.1.10", up=True, tokens=(), owns=0.0)


def test_what_the_nodes_call_each_other_becomes_the_address_that_the_service_uses() -> None:
    ring = Ring("store", (member("10.0.0.1", "192.168.0.1"), member("10.0.0.2", "192.168.0.2")), ())

    assert ring.name("192.168.0.2") == "10.0.0.2"
    assert ring.name("192.168.0.9") == "192.168.0.9"


def host(address: str, datacenter: str) -> Host:
    made = Host(address, SimpleConvictionPolicy)
    made.set_location_info(datacenter, "rack1")
    made.release_version = "4.1.10"
    made.broadcast_address = address
    made.set_up()
    return made


def driver_with(tokens: dict[int, Host], replication: dict[str, str]) -> Any:
    metadata = Metadata()
    metadata.keyspaces["store"] = KeyspaceMetadata(
        name="store",
        durable_writes=True,
        strategy_class="NetworkTopologyStrategy",
        strategy_options=replication,
    )
    for one in tokens.values():
        metadata.add_or_return_host(one)
    by_host: dict[Host, list[str]] = {}
    for token, one in tokens.items():
        by_host.setdefault(one, []).append(str(token))
    metadata.rebuild_token_map("org.apache.cassandra.dht.Murmur3Partitioner", by_host)
    return SimpleNamespace(cluster=SimpleNamespace(metadata=metadata))


def test_the_replicas_of_a_range_are_the_next_nodes_of_the_keyspace_s_data_centre_clockwise() -> None:
    a, b, c = (host(f"127.0.0.{number}", "dc1") for number in (1, 2, 3))
    elsewhere = host("127.0.0.4", "dc2")
    c.set_down()
    elsewhere.is_up = None  # as the driver leaves one that it does not connect to

    ring = read_ring(driver_with({-100: a, 0: b, 50: elsewhere, 100: c}, {"dc1": "2"}), "store")

    assert [(one.until, one.owner, one.replicas) for one in ring.ranges] == [
        (-100, "127.0.0.1", ("127.0.0.1", "127.0.0.2")),
        (0, "127.0.0.2", ("127.0.0.2", "127.0.0.3")),
        (50, "127.0.0.4", ("127.0.0.3", "127.0.0.1")),
        (100, "127.0.0.3", ("127.0.0.3", "127.0.0.1")),
    ]
    assert (ring.ranges[0].after, ring.ranges[0].until) == (100, -100)
    assert [(one.address, one.up, one.tokens, one.datacenter) for one in ring.members] == [
        ("127.0.0.1", True, (-100,), "dc1"),
        ("127.0.0.2", True, (0,), "dc1"),
        ("127.0.0.3", False, (100,), "dc1"),
        ("127.0.0.4", None, (50,), "dc2"),
    ]
