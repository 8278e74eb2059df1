"""A node that joins a cluster with data while it sells: afterwards it has what was written before and meanwhile.

No test of `make test`, which does not find it by its name: `make drill`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile, Session
from cassandra.cluster import Cluster as Driver
from cassandra.policies import WhiteListRoundRobinPolicy
from conftest import lab_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cassandra.query import PreparedStatement

    from store_manager.lab.clusters import Cluster

NETWORK = "127.0.74"
ROWS = 500
PAUSE_S = 0.02


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with lab_cluster("drill-join", 3, NETWORK) as cluster:
        yield cluster


@contextmanager
def session_with(addresses: list[str], level: int) -> Iterator[Session]:
    """A session that talks to these nodes only."""
    profile = ExecutionProfile(WhiteListRoundRobinPolicy(addresses), consistency_level=level, request_timeout=30)
    driver = Driver(addresses, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    try:
        yield driver.connect()
    finally:
        driver.shutdown()


@contextmanager
def writing(session: Session, insert: PreparedStatement, written: list[UUID]) -> Iterator[None]:
    """Write all the while, a row after the other; what is in `written` was acknowledged."""
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(PAUSE_S):
            key = uuid4()
            session.execute(insert, [key])
            written.append(key)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_node_that_joins_has_what_was_written_before_and_meanwhile(cluster: Cluster) -> None:
    steps: list[str] = []
    written: list[UUID] = []
    with session_with(cluster.addresses, ConsistencyLevel.QUORUM) as session:
        session.execute("CREATE KEYSPACE drill WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}")
        session.execute("CREATE TABLE drill.numbers (number uuid PRIMARY KEY)")
        insert = session.prepare("INSERT INTO drill.numbers (number) VALUES (?) IF NOT EXISTS")
        for _ in range(ROWS):
            written.append(uuid4())
            session.execute(insert, [written[-1]])
        with writing(session, insert, written):
            node = cluster.join(steps.append)
        assert len(written) > 2 * ROWS
    assert any("is joining (UJ)" in step for step in steps)
    found = cluster.status()
    assert [one.gossip for one in found] == ["UN"] * 4
    assert sorted(round(one.owns or 0, 2) for one in found) == [0.17, 0.17, 0.33, 0.33]

    # All others are away, so it answers with what it has itself.
    with session_with([node.address], ConsistencyLevel.ONE) as session:
        replicas = session.cluster.metadata.get_replicas
        owned = [key for key in written if node.address in {host.address for host in replicas("drill", key.bytes)}]
        assert len(written) / 2 < len(owned) < len(written)
        for other in cluster.nodes[:3]:
            cluster.stop(other.number)
        select = session.prepare("SELECT number FROM drill.numbers WHERE number = ?")
        missing = [key for key in owned if session.execute(select, [key]).one() is None]
    assert missing == []


def test_a_cluster_that_a_node_has_joined_comes_up_as_a_whole(cluster: Cluster) -> None:
    cluster.down()
    cluster.up()
    assert [one.gossip for one in cluster.status()] == ["UN"] * 4
