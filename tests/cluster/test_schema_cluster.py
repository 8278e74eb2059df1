"""A sync on three real nodes: of many at once one works, and with a node away nothing is half done.

The full form, with twenty processes and a rolling deployment of 200,000 rows, is `make schema-drill`.
"""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from conftest import Place, settings_for

from benchmarks import crowds
from store_manager.database.connections import Database, open_database
from store_manager.errors import StoreError
from store_manager.models.claims import Claim
from store_manager.models.stocks import Stock, StockMovement, StockOperation
from store_manager.schema import agreements
from store_manager.schema.faults import NodeAway, SchemaDisagreement
from store_manager.schema.runs import Terms, say
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.lab.clusters import Cluster
    from store_manager.models import StoreModel
    from store_manager.schema.runs import News
    from store_manager.settings import Settings

PATIENCE_S = 90.0
BEFORE, AFTER = (Claim,), (Claim, Stock, StockOperation, StockMovement)


@pytest.fixture
def own(three_nodes: Cluster) -> Settings:
    return replace(settings_for(Place(tuple(three_nodes.addresses)), replicas=3), schema_lease_s=6)


@pytest.fixture
def database(own: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A connection that does not wait for long."""
    monkeypatch.setattr(agreements, "SILENCE_S", 2.0)
    monkeypatch.setattr(agreements, "AGREEMENT_S", 2.0)
    database = open_database(own)
    database.cluster.max_schema_agreement_wait = 2
    yield database
    database.raw.execute(f"DROP KEYSPACE IF EXISTS {own.cassandra_keyspace}")
    database.close()


def sync_patiently(database: Database, own: Settings, models: tuple[type[StoreModel], ...]) -> None:
    """Sync as an operator would once a node is back: again, until it works."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            sync(database, own, models)
        except StoreError:
            assert time.monotonic() < end_s, "it does not work although every node is back"
            time.sleep(0.2)
        else:
            return


def find_tables(database: Database, own: Settings, address: str) -> set[str]:
    """Return the store's tables that a node knows, itself."""
    query = f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{own.cassandra_keyspace}'"
    host = next(host for host in database.cluster.metadata.all_hosts() if host.address == address)
    names = {row["table_name"] for row in database.raw.execute(query, host=host)}
    return {name for name in names if not name.startswith("schema_")}


def other_node(three_nodes: Cluster, database: Database) -> tuple[int, str]:
    """Return a node that is not the one that the driver asks about the others."""
    control = database.cluster.get_control_connection_host().address
    node = next(node for node in three_nodes.nodes if node.address != control)
    return node.number, node.address


@contextmanager
def frozen(three_nodes: Cluster, number: int) -> Iterator[None]:
    three_nodes.freeze(number)
    try:
        yield
    finally:
        three_nodes.thaw(number)


def test_a_node_that_hangs_is_named_before_anything_is_run_and_a_sync_works_when_it_is_back(
    own: Settings, database: Database, three_nodes: Cluster
) -> None:
    sync(database, own, BEFORE)
    number, address = other_node(three_nodes, database)
    told: list[News] = []
    with frozen(three_nodes, number):
        with pytest.raises(NodeAway, match=rf"No answer from {address}, .* --without {address}"):
            sync(database, own, AFTER, tell=told.append)
        assert told == []
    sync_patiently(database, own, AFTER)
    for node in three_nodes.addresses:
        assert find_tables(database, own, node) == {"claims", "stocks"}


def test_a_node_that_hangs_in_the_middle_of_a_step_stops_the_sync_after_it(
    own: Settings, database: Database, three_nodes: Cluster
) -> None:
    sync(database, own, BEFORE)
    number, _ = other_node(three_nodes, database)
    told: list[str] = []

    def freeze_at_the_first_step(news: News) -> None:
        told.append(say(news))
        if told == ["create table stocks"]:
            three_nodes.freeze(number)

    try:
        with pytest.raises(SchemaDisagreement, match="does not answer"):
            sync(database, own, (*AFTER, Shelf), tell=freeze_at_the_first_step)
    finally:
        three_nodes.thaw(number)
    assert told == ["create table stocks"]
    sync_patiently(database, own, (*AFTER, Shelf))


class Shelf(Claim):
    """One table more."""

    __table_name__ = "shelves"


def test_a_node_that_is_known_to_be_gone_can_be_left_out_and_learns_the_schema_when_it_is_back(
    own: Settings, database: Database, three_nodes: Cluster
) -> None:
    sync(database, own, BEFORE)
    number, address = other_node(three_nodes, database)
    three_nodes.kill(number)
    try:
        sync(database, own, AFTER, terms=Terms(without=(address,)))
    finally:
        three_nodes.start(number)
    end_s = time.monotonic() + PATIENCE_S
    while not all(node.schema_version for node in database.health().nodes):
        assert time.monotonic() < end_s, "the node stays away"
        time.sleep(0.2)
    while find_tables(database, own, address) != {"claims", "stocks"}:
        assert time.monotonic() < end_s, "the node never learned what was done without it"
        time.sleep(0.2)


def test_nodes_that_do_not_agree_stop_a_sync_before_anything_is_run(
    own: Settings, database: Database, three_nodes: Cluster
) -> None:
    sync(database, own, BEFORE)
    _, address = other_node(three_nodes, database)
    host = next(host for host in database.cluster.metadata.all_hosts() if host.address == address)
    (row,) = database.raw.execute("SELECT schema_version FROM system.local", host=host)
    pretend = "UPDATE system.local SET schema_version = {} WHERE key = 'local'"
    database.raw.execute(pretend.format(uuid.uuid4()), host=host)
    told: list[News] = []
    try:
        with pytest.raises(SchemaDisagreement, match=f"{address} has "):
            sync(database, own, AFTER, tell=told.append)
        assert "create table stocks" not in map(say, told)
    finally:
        database.raw.execute(pretend.format(row["schema_version"]), host=host)
    sync_patiently(database, own, AFTER)


def test_of_several_processes_one_works_and_when_it_is_frozen_another_one_goes_on(
    own: Settings, tmp_path: Path
) -> None:
    witness = crowds.Witness(own)
    try:
        with crowds.crowd(own, 3, tmp_path) as comers:
            witness.wait_for_steps(2)
            holder = witness.find_holder(comers)
            crowds.freeze(holder)
            others = [comer for comer in comers if comer is not holder]
            crowds.wait_for(others)
            crowds.thaw(holder)
            crowds.wait_for([holder])
        assert holder.process.exitcode == 1
        assert "The lock of the schema is lost" in holder.error
        assert [comer.process.exitcode for comer in others] == [0, 0]
        assert [comer.worked for comer in others].count(True) == 1
        witness.require_whole()
        assert set(witness.count_steps().values()) == {1}
    finally:
        witness.database.raw.execute(f"DROP KEYSPACE {own.cassandra_keyspace}")
        witness.close()
