"""Plan and sync on a real cluster: what the Models declare comes into being, once, and nothing else happens."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from cassandra.cqlengine import columns
from click.testing import CliRunner

from store_manager.cli import main
from store_manager.database.ages import ask_ages
from store_manager.database.connections import Database, open_database
from store_manager.models import MODELS
from store_manager.models.base import TABLE_OPTIONS, StoreModel
from store_manager.models.claims import Claim
from store_manager.models.stocks import Stock, StockMovement, StockOperation
from store_manager.schema.faults import SchemaRefused, SchemaStepFailed
from store_manager.schema.plans import plan
from store_manager.schema.runs import News, say
from store_manager.schema.steps import Plan, Step
from store_manager.schema.syncs import Report, sync
from store_manager.schema.tables import declare, identify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

SMALL = (Claim, Stock, StockOperation, StockMovement)
"""Two tables, one of which three Models share: enough where the number of tables does not matter."""

ROWS: dict[str, Any] = {
    "bigint": 7,
    "boolean": True,
    "date": "2026-11-22",
    "decimal": Decimal("1.50"),
    "int": 7,
    "map<text, text>": {"color": "black"},
    "map<text, timestamp>": {"PAID": datetime(2026, 11, 22, tzinfo=UTC)},
    "smallint": 7,
    "text": "seven",
    "timestamp": datetime(2026, 11, 22, tzinfo=UTC),
    "tinyint": 7,
    "uuid": uuid.UUID(int=7),
}
"""A value for each type of column that the Models use."""


class ColouredClaim(Claim):
    """A Model to which somebody has added one line."""

    __table_name__ = "claims"
    colour = columns.Text()


class HastyClaim(Claim):
    """A Model with a value that no plan can know to be wrong."""

    __table_name__ = "claims"
    __options__ = {**TABLE_OPTIONS, "default_time_to_live": -1}  # noqa: RUF012 - cqlengine's own form


class Shelf(StoreModel):
    """A table of which the cluster has other versions in these tests."""

    __table_name__ = "shelves"

    aisle = columns.Text(partition_key=True)
    level = columns.Integer(primary_key=True, clustering_order="DESC")
    keeper = columns.Text(static=True)
    label = columns.Text()


@pytest.fixture(scope="module")
def cluster(settings: Settings) -> Iterator[Database]:
    """A connection that no Model uses."""
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture
def own(settings: Settings, cluster: Database) -> Iterator[Settings]:
    """Settings for a keyspace that does not exist and never has."""
    with own_keyspace(settings, cluster) as own:
        yield own


@contextmanager
def own_keyspace(settings: Settings, database: Database) -> Iterator[Settings]:
    keyspace = f"test_schema_{uuid.uuid4().hex[:12]}"
    yield replace(settings, cassandra_keyspace=keyspace)
    database.raw.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")


def write_and_read_every_column(database: Database, keyspace: str, table: str) -> None:
    shape = database.cluster.metadata.keyspaces[keyspace].tables[table].columns
    names, values = list(shape), [ROWS[column.cql_type] for column in shape.values()]
    markers = ", ".join("?" * len(names))
    written = f"INSERT INTO {keyspace}.{table} ({', '.join(names)}) VALUES ({markers})"
    database.raw.execute(database.raw.prepare(written), values)
    (row,) = database.raw.execute(f"SELECT {', '.join(names)} FROM {keyspace}.{table}")
    assert None not in row.values()


def wait_until_all_are_up(database: Database, timeout_s: float = 60) -> None:
    end_s = time.monotonic() + timeout_s
    while not all(host.is_up for host in database.cluster.metadata.all_hosts()):
        assert time.monotonic() < end_s, "a node stays away"
        time.sleep(0.2)


def find_ids(database: Database, keyspace: str) -> set[tuple[str, uuid.UUID]]:
    """Return the id of each of the store's tables on every node, which keeps a schema of its own, and may be away."""
    wait_until_all_are_up(database)
    query = f"SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"
    hosts = database.cluster.metadata.all_hosts()
    rows = [row for host in hosts for row in database.raw.execute(query, host=host)]
    return {(row["table_name"], row["id"]) for row in rows if not row["table_name"].startswith("schema_")}


def test_an_empty_cluster_gets_every_table_and_then_nothing_is_left_to_do(own: Settings, cluster: Database) -> None:
    synced = sync(cluster, own)
    tables = declare(MODELS)
    assert [step.what for step in synced.steps] == [
        f"create keyspace {own.cassandra_keyspace}",
        *(f"create table {table.name}" for table in tables),
    ]
    assert synced.was_empty
    for table in tables:
        write_and_read_every_column(cluster, own.cassandra_keyspace, table.name)
    assert plan(cluster, own) == Plan()
    assert sync(cluster, own) == Report()


def test_a_keyspace_does_not_grow_younger_when_a_table_changes(own: Settings, cluster: Database) -> None:
    keyspace = own.cassandra_keyspace
    sync(cluster, own, SMALL)
    made = ask_ages(cluster.session, keyspace)
    time.sleep(0.1)
    cluster.raw.execute(f"ALTER TABLE {keyspace}.claims WITH comment = 'changed'")
    assert made is not None
    assert ask_ages(cluster.session, keyspace) == made
    cluster.raw.execute(f"TRUNCATE {keyspace}.schema_history")
    young = ask_ages(cluster.session, keyspace)
    assert young is not None
    assert young.made_at > made.made_at, "without a history only Cassandra's own time is left"


def test_the_keyspace_is_replicated_as_the_settings_say(own: Settings, cluster: Database) -> None:
    sync(cluster, own, (Claim,))
    strategy = cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].replication_strategy
    assert strategy.export_for_schema() == (
        f"{{'class': 'NetworkTopologyStrategy', '{own.cassandra_datacenter}': '{own.cassandra_replication_factor}'}}"
    )


def test_a_column_added_by_one_line_is_planned_and_after_the_sync_usable(own: Settings, cluster: Database) -> None:
    sync(cluster, own, SMALL)
    changed = (ColouredClaim, *SMALL[1:])
    cql = f'ALTER TABLE {own.cassandra_keyspace}.claims ADD IF NOT EXISTS "colour" text'
    assert plan(cluster, own, changed).steps == (Step("add column claims.colour", cql, "declared by ColouredClaim"),)
    sync(cluster, own, changed)
    assert "colour" in cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].tables["claims"].columns
    write_and_read_every_column(cluster, own.cassandra_keyspace, "claims")
    assert plan(cluster, own, changed) == Plan()


def test_a_version_that_knows_fewer_columns_changes_nothing(own: Settings, cluster: Database) -> None:
    sync(cluster, own, (ColouredClaim,))
    assert plan(cluster, own, (Claim,)).lacking == ()
    sync(cluster, own, (Claim,))
    assert "colour" in cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].tables["claims"].columns


def test_a_table_that_three_models_share_has_the_columns_of_all(own: Settings, cluster: Database) -> None:
    sync(cluster, own, SMALL)
    made = cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].tables["stocks"].columns
    declared = {name for model in SMALL[1:] for name in model._columns}
    assert set(made) == declared
    write_and_read_every_column(cluster, own.cassandra_keyspace, "stocks")


def test_an_option_that_was_changed_by_hand_is_set_again(own: Settings, cluster: Database) -> None:
    sync(cluster, own, (Claim,))
    table = f"{own.cassandra_keyspace}.claims"
    cluster.raw.execute(f"ALTER TABLE {table} WITH speculative_retry = '90p' AND comment = 'a = {{b'")
    (step,) = sync(cluster, own, (Claim,)).steps
    assert step.what == "set speculative_retry of claims"
    assert step.cql == f"ALTER TABLE {table} WITH speculative_retry = '{TABLE_OPTIONS['speculative_retry']}'"
    assert step.why == f"speculative_retry is '90p', not '{TABLE_OPTIONS['speculative_retry']}'"
    assert [step.destroys for step in plan(cluster, own, (Claim,)).steps] == ["option:claims.comment"]


@pytest.mark.parametrize(
    ("columns_and_key", "order", "said"),
    [
        ("aisle text, level int, keeper text static, label int, PRIMARY KEY (aisle, level)", "DESC", "column label"),
        ("aisle text, level int, keeper text, label text, PRIMARY KEY (aisle, level)", "DESC", "column keeper"),
        ("aisle text, level int, keeper text static, label text, PRIMARY KEY (aisle, level)", "ASC", "column level"),
        ("aisle text, level int, label text, PRIMARY KEY ((aisle, label), level)", "DESC", "column label"),
    ],
    ids=["type", "static", "order", "key"],
)
def test_what_cannot_be_changed_in_place_is_refused_and_nothing_is_run(
    own: Settings, cluster: Database, columns_and_key: str, order: str, said: str
) -> None:
    sync(cluster, own, (Claim,))
    cluster.raw.execute(
        f"CREATE TABLE {own.cassandra_keyspace}.shelves ({columns_and_key}) WITH CLUSTERING ORDER BY (level {order})"
    )
    with pytest.raises(SchemaRefused, match=f"{said} is .*, declared ") as refusal:
        sync(cluster, own, (ColouredClaim, Shelf))
    assert len(refusal.value.details["differences"]) == 1
    assert "colour" not in cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].tables["claims"].columns


def test_a_step_that_cassandra_refuses_ends_the_sync_and_names_the_step(own: Settings, cluster: Database) -> None:
    sync(cluster, own, (Claim,))
    told: list[News] = []
    with pytest.raises(SchemaStepFailed, match="set default_time_to_live of claims"):
        sync(cluster, own, (HastyClaim, Shelf), tell=told.append)
    assert [say(news) for news in told] == ["set default_time_to_live of claims"]
    assert "shelves" not in {name for name, _ in find_ids(cluster, own.cassandra_keyspace)}


def test_six_first_comers_at_once_make_each_table_once(own: Settings, cluster: Database) -> None:
    sync_at_once(cluster, [own] * 6)


def test_six_first_comers_on_three_coordinators_make_each_table_once(settings: Settings, three_nodes: Cluster) -> None:
    settings = replace(settings, cassandra_hosts=tuple(three_nodes.addresses), cassandra_port=9042)
    database = open_database(settings)
    try:
        with own_keyspace(replace(settings, cassandra_replication_factor=3), database) as own:
            sync_at_once(database, [replace(own, cassandra_hosts=(host,)) for host in own.cassandra_hosts] * 2)
    finally:
        database.close()


def sync_at_once(database: Database, comers: list[Settings]) -> None:
    connections = [open_database(comer) for comer in comers]
    try:
        with ThreadPoolExecutor(len(comers)) as pool:
            list(pool.map(sync_and_know, connections, comers))
        for connection in connections:
            assert plan(connection, comers[0], SMALL) == Plan()
    finally:
        for connection in connections:
            connection.close()
    keyspace = comers[0].cassandra_keyspace
    assert find_ids(database, keyspace) == {(name, identify(keyspace, name)) for name in ("claims", "stocks")}
    plan(database, comers[0], SMALL)
    for table in ("claims", "stocks"):
        write_and_read_every_column(database, keyspace, table)


def sync_and_know(database: Database, own: Settings) -> None:
    sync(database, own, SMALL)
    known = database.cluster.metadata.keyspaces[own.cassandra_keyspace].tables
    assert {table.name for table in declare(SMALL)} <= known.keys(), "what another one made is not known here"


def run_cli(own: Settings, *arguments: str) -> Any:
    environment = {
        "CASSANDRA_HOSTS": ",".join(own.cassandra_hosts),
        "CASSANDRA_PORT": str(own.cassandra_port),
        "CASSANDRA_KEYSPACE": own.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": str(own.cassandra_replication_factor),
    }
    return CliRunner().invoke(main, ["schema", *arguments], env=environment)


def test_the_commands_print_the_exact_cql_then_run_it_then_have_nothing_to_do(own: Settings) -> None:
    planned = json.loads(run_cli(own, "plan", "--json").stdout)
    read = run_cli(own, "plan")
    assert read.exit_code == 0
    assert planned["keyspace"] == own.cassandra_keyspace
    for step in planned["steps"]:
        assert f"\n{step['cql']};\n" in read.stdout
    synced = run_cli(own, "sync", "--json")
    assert json.loads(synced.stdout)["steps"] == planned["steps"]
    assert [step["what"] in synced.stderr for step in planned["steps"]] == [True] * len(planned["steps"])
    again = run_cli(own, "sync")
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout


def test_a_refusal_is_one_line_on_standard_error_and_status_1(own: Settings, cluster: Database) -> None:
    sync(cluster, own, (Shelf,))
    cluster.raw.execute(f"CREATE TABLE {own.cassandra_keyspace}.claims (kind text PRIMARY KEY)")
    refused = run_cli(own, "sync")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    error = [line for line in refused.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(error) == 1
    assert error[0].startswith(f"Error: Keyspace {own.cassandra_keyspace} differs from the Models")
