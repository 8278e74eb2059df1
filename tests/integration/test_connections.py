"""The connection to a real Cassandra: how it is made, what it refuses, what it knows of the node."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cassandra import ConsistencyLevel
from cassandra.cqlengine import models
from cassandra.query import dict_factory

from store_manager.database.connections import connect, open_database
from store_manager.database.health import MAX_CLOCK_SKEW_S
from store_manager.errors import DatabaseUnavailable, SchemaBehind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.connections import Database
    from store_manager.settings import Settings


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_second_connection_of_the_process_is_refused(database: Database, settings: Settings) -> None:
    assert database.health().nodes
    with pytest.raises(RuntimeError, match="already connected"):
        connect(settings)


def test_after_closing_the_process_may_connect_again(settings: Settings) -> None:
    script = f"""
from store_manager.database.connections import connect
from store_manager.settings import Settings
from cassandra.cqlengine import connection, models
settings = Settings(cassandra_hosts={settings.cassandra_hosts}, cassandra_port={settings.cassandra_port})
for keyspace in ("one", "two"):
    database = connect(settings, keyspace)
    print(models.DEFAULT_KEYSPACE, len(list(connection.execute("SELECT key FROM system.local"))))
    database.close()
    print(models.DEFAULT_KEYSPACE, len(connection._connections))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in run.stdout.splitlines() if line.split()[0] in {"one", "two", "None"}]
    assert lines == ["one 1", "None 0", "two 1", "None 0"], run.stderr


def test_where_nobody_answers_one_sentence_says_so(settings: Settings, free_port: int) -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        open_database(replace(settings, cassandra_hosts=("127.0.0.1",), cassandra_port=free_port))
    assert f"127.0.0.1 (port {free_port})" in refused.value.message
    assert "CASSANDRA_HOSTS" in refused.value.message


def test_a_host_name_that_does_not_exist_is_named(settings: Settings) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no-such-node\.invalid"):
        open_database(replace(settings, cassandra_hosts=("no-such-node.invalid",)))


def test_a_wrong_data_centre_is_told_from_the_right_one(settings: Settings) -> None:
    with pytest.raises(DatabaseUnavailable) as refused:
        open_database(replace(settings, cassandra_datacenter="elsewhere"))
    assert "'elsewhere'" in refused.value.message
    assert settings.cassandra_datacenter in refused.value.message


def test_tls_with_a_node_that_speaks_none_is_refused(settings: Settings) -> None:
    with pytest.raises(DatabaseUnavailable):
        open_database(replace(settings, cassandra_tls=True, cassandra_connect_timeout_s=1))


def test_a_missing_keyspace_is_a_schema_that_is_behind(settings: Settings) -> None:
    database = open_database(settings)
    try:
        with pytest.raises(SchemaBehind):
            database.session.execute('SELECT "a" FROM no_such_keyspace.t')
    finally:
        database.close()


def test_a_connection_beside_the_models_leaves_theirs_open(database: Database, settings: Settings) -> None:
    open_database(settings, settings.cassandra_keyspace).close()
    assert database.keyspace == models.DEFAULT_KEYSPACE
    assert list(database.session.execute("SELECT key FROM system.local"))


def test_one_node_is_enough_to_be_healthy(database: Database) -> None:
    health = database.health()
    assert all(node.up and node.datacenter == "dc1" for node in health.nodes)
    assert all(abs(node.clock_skew_s or 99) <= MAX_CLOCK_SKEW_S for node in health.nodes)
    assert health.schema_agreed
    assert health.warnings == []


@pytest.mark.parametrize("profile", ["read", "write", "conditional"])
def test_each_sort_of_statement_has_a_profile_of_its_own(database: Database, settings: Settings, profile: str) -> None:
    made = database.raw.get_execution_profile(profile)
    assert made.request_timeout == getattr(settings, f"cassandra_{profile}_timeout_s")
    assert made.consistency_level == ConsistencyLevel.LOCAL_QUORUM
    assert made.serial_consistency_level == ConsistencyLevel.LOCAL_SERIAL
    assert made.row_factory is dict_factory


def test_the_driver_is_set_for_losing_a_node(database: Database) -> None:
    cluster = database.cluster
    assert cluster.protocol_version == 5, "older protocols do not say that a statement's metadata changed"
    assert (cluster.idle_heartbeat_interval, cluster.idle_heartbeat_timeout) == (5, 5)
    assert not cluster.prepare_on_all_hosts
    schedule = cluster.reconnection_policy.new_schedule()
    delays = [next(schedule) for _ in range(100)]
    assert max(delays) <= 10, "a node that comes back is found within 10 s, however long it was away"
