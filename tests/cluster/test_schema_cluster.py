"""A sync on three real nodes, one of which is away: what it says, and that nothing is half done.

The full form, with twenty processes and a rolling deployment of 200,000 rows, is `make schema-drill`.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cassandra.cqlengine import columns
from conftest import Place, settings_for

from store_manager.database.connections import Database, open_database
from store_manager.errors import StoreError
from store_manager.models.base import StoreModel
from store_manager.schema import agreements
from store_manager.schema.faults import NodeAway, SchemaDisagreement
from store_manager.schema.runs import Terms, say
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.lab.clusters import Cluster
    from store_manager.schema.runs import News
    from store_manager.settings import Settings

PATIENCE_S = 90.0


class First(StoreModel):
    __table_name__ = "first"
    key = columns.Text(partition_key=True)


class Second(StoreModel):
    __table_name__ = "second"
    key = columns.Text(partition_key=True)


class Third(StoreModel):
    __table_name__ = "third"
    key = columns.Text(partition_key=True)


class Fourth(StoreModel):
    __table_name__ = "fourth"
    key = columns.Text(partition_key=True)


@pytest.fixture(scope="module")
def own(three_nodes: Cluster) -> Settings:
    return replace(settings_for(Place(tuple(three_nodes.addresses)), replicas=3), schema_lease_s=6)


@pytest.fixture(scope="module")
def database(own: Settings) -> Iterator[Database]:
    """A connection to a keyspace with one table, that does not wait for long."""
    database = open_database(own)
    database.cluster.max_schema_agreement_wait = 2
    sync(database, own, (First,))
    yield database
    database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")
    database.close()


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreements, "SILENCE_S", 2.0)
    monkeypatch.setattr(agreements, "AGREEMENT_S", 2.0)


@pytest.fixture
def other(three_nodes: Cluster, database: Database) -> Iterator[tuple[int, str]]:
    """A node that is not the one that the driver asks about the others; thawed in the end."""
    control = database.cluster.get_control_connection_host().address
    node = next(node for node in three_nodes.nodes if node.address != control)
    yield node.number, node.address
    three_nodes.thaw(node.number)


def sync_patiently(database: Database, own: Settings, *models: type[StoreModel]) -> None:
    """Sync as an operator would once a node is back: again, until it works; then every node has every table."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            sync(database, own, models)
        except StoreError:
            assert time.monotonic() < end_s, "it does not work although every node is back"
            time.sleep(0.2)
        else:
            break
    names = {model.__table_name__ for model in models}
    for host in database.cluster.metadata.all_hosts():
        assert find_tables(database, own, host) >= names


def find_tables(database: Database, own: Settings, host: object) -> set[str]:
    """Return the tables that a node knows, itself."""
    query = f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{own.cassandra_keyspace}'"
    return {row["table_name"] for row in database.raw.execute(query, host=host)}


def test_a_node_that_hangs_is_named_before_anything_is_run_and_can_be_left_out(
    own: Settings, database: Database, three_nodes: Cluster, other: tuple[int, str]
) -> None:
    number, address = other
    told: list[News] = []
    three_nodes.freeze(number)
    with pytest.raises(NodeAway, match=re.escape(f"--without {address})")):
        sync(database, own, (First, Second), tell=told.append)
    assert told == []
    sync(database, own, (First, Second), terms=Terms(without=(address,)))
    three_nodes.thaw(number)
    sync_patiently(database, own, First, Second)


def test_a_node_that_hangs_in_the_middle_of_a_step_stops_the_sync_after_it(
    own: Settings, database: Database, three_nodes: Cluster, other: tuple[int, str]
) -> None:
    told: list[str] = []

    def freeze_at_the_first_step(news: News) -> None:
        told.append(say(news))
        three_nodes.freeze(other[0])

    with pytest.raises(SchemaDisagreement, match="does not answer"):
        sync(database, own, (First, Second, Third, Fourth), tell=freeze_at_the_first_step)
    assert told == ["create table third"]
    three_nodes.thaw(other[0])
    sync_patiently(database, own, First, Second, Third, Fourth)


class Fifth(StoreModel):
    __table_name__ = "fifth"
    key = columns.Text(partition_key=True)


def test_nodes_that_do_not_agree_stop_a_sync_before_anything_is_run(
    own: Settings, database: Database, other: tuple[int, str]
) -> None:
    host = next(host for host in database.cluster.metadata.all_hosts() if host.address == other[1])
    (row,) = database.raw.execute("SELECT schema_version FROM system.local", host=host)
    pretend = "UPDATE system.local SET schema_version = {} WHERE key = 'local'"
    database.raw.execute(pretend.format(uuid.uuid4()), host=host)
    told: list[News] = []
    try:
        with pytest.raises(SchemaDisagreement, match=re.escape(f"{other[1]} has ")):
            sync(database, own, (First, Second, Third, Fourth, Fifth), tell=told.append)
        assert told == []
    finally:
        database.raw.execute(pretend.format(row["schema_version"]), host=host)
    sync_patiently(database, own, First, Second, Third, Fourth, Fifth)
