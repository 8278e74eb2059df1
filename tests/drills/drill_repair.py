"""Copies that differ, and what brings them together: a read that meets them, and a repair of all.

No test of `make test`, which does not find it by its name: `make drill`.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import operators
import pytest
import shops
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile, Session
from cassandra.cluster import Cluster as Driver
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement
from conftest import Place, lab_cluster, settings_for, store_keyspace

from store_manager.cluster import replication
from store_manager.dao import repairs as records
from store_manager.database.ages import Ages
from store_manager.services import clocks
from store_manager.services.repairs import FULL, PAXOS, find_alarms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

NETWORK = "127.0.75"
LOSER = 3
PATIENCE_S = 60.0
GRACE = timedelta(days=10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with lab_cluster("drill-repair", 3, NETWORK) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster: Cluster) -> Settings:
    return settings_for(Place(tuple(cluster.addresses)), replicas=3)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings, kept=True) as database:
        yield database


@contextmanager
def only(address: str, keyspace: str) -> Iterator[Session]:
    """A session that asks this node only."""
    profile = ExecutionProfile(WhiteListRoundRobinPolicy([address]), request_timeout=30)
    driver = Driver([address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    try:
        yield driver.connect(keyspace)
    finally:
        driver.shutdown()


def has(session: Session, product_id: UUID, level: int) -> bool:
    query = SimpleStatement("SELECT product_id FROM products WHERE product_id = %s", consistency_level=level)
    return session.execute(query, [product_id]).one() is not None


def files_of_products(cluster: Cluster, keyspace: str) -> list[Path]:
    """What the loser has of the table on its disk."""
    [directory] = (cluster.node(LOSER).directory / "data" / keyspace).glob("products-*")
    return list(directory.glob("*-big-*"))


def lose_products(cluster: Cluster, keyspace: str) -> None:
    """Let a node lose what it has of a table, as a broken disk does."""
    cluster.stop(LOSER)
    for file in files_of_products(cluster, keyspace):
        file.unlink()
    cluster.start(LOSER)


@contextmanager
def left_alone(cluster: Cluster) -> Iterator[None]:
    """Stop the others, so that the loser answers with what it has itself, and nothing else."""
    others = [node.number for node in cluster.nodes if node.number != LOSER]
    for number in others:
        cluster.stop(number)
    yield
    for number in others:
        cluster.start(number)


def counted(cluster: Cluster, settings: Settings, name: str) -> int:
    """What all nodes that answer have counted together."""
    healing: dict[str, dict[str, int]] = json.loads(operators.run(cluster, settings, "healing", "--json"))
    return sum(node[name] for node in healing.values())


def warned_to_replicate(cluster: Cluster, settings: Settings) -> bool:
    told = json.loads(operators.run(cluster, settings, "status", "--json"))
    return any("replicate-system" in warning for warning in told["warnings"])


def states(cluster: Cluster, settings: Settings) -> list[str]:
    told = json.loads(operators.run(cluster, settings, "status", "--json"))
    return [node["state"] for node in told["nodes"]]


@pytest.mark.usefixtures("database")
def test_what_a_node_misses_is_kept_for_it_and_brought_when_it_is_back(cluster: Cluster, settings: Settings) -> None:
    assert states(cluster, settings) == ["UN"] * 3
    stored = counted(cluster, settings, "hints_stored")
    cluster.stop(LOSER)
    for _ in range(3):
        shops.new_product(1)
    assert states(cluster, settings) == ["UN", "UN", "DN"]
    assert counted(cluster, settings, "hints_stored") > stored
    replayed = counted(cluster, settings, "hints_replayed")
    cluster.start(LOSER)
    end_s = time.monotonic() + PATIENCE_S
    while counted(cluster, settings, "hints_replayed") == replayed:
        assert time.monotonic() < end_s, f"no hint was replayed within {PATIENCE_S} s"
    assert states(cluster, settings) == ["UN"] * 3


def test_a_read_mends_the_row_that_it_meets_and_a_repair_all_of_them(
    cluster: Cluster, settings: Settings, database: Database
) -> None:
    product_ids = [shops.new_product().product_id for _ in range(10)]
    address, keyspace = cluster.node(LOSER).address, settings.cassandra_keyspace
    lose_products(cluster, keyspace)
    assert files_of_products(cluster, keyspace) == []
    before = counted(cluster, settings, "read_repairs")
    with only(address, keyspace) as session:
        assert all(has(session, product_id, ConsistencyLevel.QUORUM) for product_id in product_ids[:3])
    assert counted(cluster, settings, "read_repairs") > before

    old = Ages(clocks.now() - GRACE, GRACE)
    assert len(find_alarms(old, 3, percent=70, paxos_hours=6)) == 2
    began = clocks.now()
    told = json.loads(operators.run(cluster, settings, "repair", "--json"))
    assert told["nodes"] == cluster.addresses
    assert files_of_products(cluster, keyspace) != []
    with left_alone(cluster), only(address, keyspace) as session:
        assert all(has(session, product_id, ConsistencyLevel.ONE) for product_id in product_ids)
    assert find_alarms(old, 3, percent=70, paxos_hours=6) == [], "a full repair is one of Paxos as well"
    assert began <= noted(FULL).started_at <= noted(FULL).finished_at <= clocks.now()
    assert database.ages() is not None


def noted(kind: str) -> Any:
    repair = records.find_repair(kind)
    assert repair is not None
    assert repair.nodes == 3
    return repair


@pytest.mark.usefixtures("database")
def test_a_paxos_repair_is_noted_apart(cluster: Cluster, settings: Settings) -> None:
    operators.run(cluster, settings, "repair")
    full, paxos = noted(FULL).started_at, noted(PAXOS).started_at
    operators.run(cluster, settings, "repair", "--paxos")
    assert noted(PAXOS).started_at > paxos
    assert noted(FULL).started_at == full


def test_the_systems_keyspaces_get_as_many_copies_as_the_stores(
    cluster: Cluster, settings: Settings, database: Database
) -> None:
    shown = operators.run(cluster, settings, "replicate-system", "--dry-run")
    assert {change.cql for change in replication.plan(database, settings.cassandra_keyspace)} == {
        line.removesuffix(";") for line in shown.splitlines()
    }
    assert "system_auth" in shown
    assert warned_to_replicate(cluster, settings)
    operators.run(cluster, settings, "replicate-system")
    assert not warned_to_replicate(cluster, settings)
    assert replication.plan(database, settings.cassandra_keyspace) == []
    operators.run(cluster, settings, "cleanup")
