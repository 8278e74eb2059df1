"""Every kind of drift, made on a real Cassandra: what `plan` says, what `sync` does, what plain `sync_table` does."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import ConsistencyLevel
from cassandra.cqlengine import connection
from cassandra.cqlengine.management import sync_table
from cassandra.query import SimpleStatement
from click.testing import CliRunner
from drifts import DRIFTS, KEYSPACE_DRIFTS, MADE_ANYWAY, Drift, KeyspaceDrift, Planned, fill_in, make_model, shelf

from store_manager.cli import main
from store_manager.database.connections import Database, open_database
from store_manager.schema.faults import SchemaRefused
from store_manager.schema.plans import plan
from store_manager.schema.syncs import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.lab.clusters import Cluster
    from store_manager.models.base import StoreModel
    from store_manager.schema.steps import Plan, Step
    from store_manager.settings import Settings

DRIFTED = tuple(drift.model for drift in DRIFTS if drift.model)
BLOCKED = {
    drift.table for drift in DRIFTS if any(planned.safety.startswith(("needs", "refused")) for planned in drift.planned)
}


@pytest.fixture(scope="module")
def cluster(settings: Settings) -> Iterator[Database]:
    """A connection that no Model uses."""
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture(scope="module")
def one_copy(settings: Settings) -> Settings:
    """Settings for keyspaces of one copy: where the run has more, that would be a drift too."""
    return replace(settings, cassandra_replication_factor=1)


@contextmanager
def new_keyspace(own: Settings, database: Database) -> Iterator[Settings]:
    keyspace = f"test_drift_{uuid.uuid4().hex[:12]}"
    yield replace(own, cassandra_keyspace=keyspace)
    database.raw.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")


def make_all(database: Database, own: Settings) -> None:
    """Bring an earlier version's tables into being, and then do by hand what was done by hand."""
    sync(database, own, tuple(drift.model_before for drift in DRIFTS if drift.model_before))
    for drift in DRIFTS:
        for cql in drift.by_hand:
            database.raw.execute(fill_in(cql, own.cassandra_keyspace, drift.table))


@dataclass(frozen=True)
class Seen:
    """What happened in a keyspace with all drifts: the plans of one moment after the other."""

    keyspace: str
    drifted: Plan
    refusal: SchemaRefused
    after_refusal: Plan
    after_sync: Plan
    after_all_was_allowed: Plan


@pytest.fixture(scope="module")
def seen(one_copy: Settings, cluster: Database) -> Iterator[Seen]:
    """A keyspace with all drifts, planned, synced and in the end mended as far as statements can."""
    with new_keyspace(one_copy, cluster) as own:
        make_all(cluster, own)
        drifted = plan(cluster, own, DRIFTED)
        with pytest.raises(SchemaRefused) as refusal:
            sync(cluster, own, DRIFTED)
        after_refusal = plan(cluster, own, DRIFTED)
        sync(cluster, own, tuple(model for model in DRIFTED if model._raw_column_family_name() not in BLOCKED))
        after_sync = plan(cluster, own, DRIFTED)
        for step in after_sync.allowing({str(step.destroys) for step in after_sync.destructive}):
            cluster.raw.execute(step.cql)
        at_last = plan(cluster, own, DRIFTED)
        yield Seen(own.cassandra_keyspace, drifted, refusal.value, after_refusal, after_sync, at_last)


def steps_of(drift: Drift, planned: Plan) -> list[Step]:
    """The steps that name one table."""
    return [step for step in planned.steps if re.search(rf"\b{drift.table}\b", f"{step.what} {step.why}")]


def expect(planned: tuple[Planned, ...], keyspace: str, table: str) -> list[tuple[Any, ...]]:
    texts = [(one.cql, one.destroys, one.follow_up) for one in planned]
    filled = [tuple(text and fill_in(text, keyspace, table) for text in one) for one in texts]
    return [(one.safety, *rest) for one, rest in zip(planned, filled, strict=True)]


def say(steps: list[Step] | tuple[Step, ...]) -> list[tuple[Any, ...]]:
    return [(step.safety, step.cql, step.destroys, step.follow_up) for step in steps]


of_tables = pytest.mark.parametrize("drift", DRIFTS, ids=[drift.table for drift in DRIFTS])


@of_tables
def test_the_plan_has_the_exact_cql_and_says_how_safe_it_is(drift: Drift, seen: Seen) -> None:
    steps = steps_of(drift, seen.drifted)
    assert say(steps) == expect(drift.planned, seen.keyspace, drift.table)
    assert all(step.why.startswith(planned.why) for step, planned in zip(steps, drift.planned, strict=True))
    assert [remark for remark in seen.drifted.remarks if f"able {drift.table} " in remark] == [
        remark for remark in seen.drifted.remarks if drift.remark and remark.startswith(drift.remark)
    ]
    assert bool(drift.remark) == any(f"able {drift.table} " in remark for remark in seen.drifted.remarks)


def test_the_plan_has_nothing_else(seen: Seen) -> None:
    known = [step for drift in DRIFTS for step in steps_of(drift, seen.drifted)]
    assert [step for step in seen.drifted.steps if step not in known] == []


def test_a_sync_names_all_that_is_blocked_and_runs_nothing(seen: Seen) -> None:
    assert len(seen.refusal.details["differences"]) == len(seen.drifted.blocked) > 0
    assert seen.after_refusal == seen.drifted


@of_tables
def test_a_sync_runs_what_may_be_run_and_leaves_what_nobody_allowed(drift: Drift, seen: Seen) -> None:
    before = steps_of(drift, seen.drifted)
    left = before if drift.table in BLOCKED else [step for step in before if step.destroys]
    assert steps_of(drift, seen.after_sync) == left


@of_tables
def test_what_is_allowed_is_gone_and_only_what_is_blocked_stays(drift: Drift, seen: Seen) -> None:
    blocked = [step for step in steps_of(drift, seen.drifted) if step.is_blocked]
    assert steps_of(drift, seen.after_all_was_allowed) == blocked


@pytest.fixture(scope="module")
def synced_plainly(one_copy: Settings, cluster: Database) -> Iterator[tuple[str, dict[str, str]]]:
    """A keyspace with all drifts, and what plain `sync_table` did to each of its tables."""
    with new_keyspace(one_copy, cluster) as own:
        make_all(cluster, own)
        cluster.cluster.refresh_schema_metadata()
        yield (
            own.cassandra_keyspace,
            {
                drift.table: run_sync_table(cluster, own.cassandra_keyspace, drift.model) if drift.model else NOT_CALLED
                for drift in DRIFTS
            },
        )


NOT_CALLED = "is never called: there is no Model"


@of_tables
def test_plain_sync_table_does_less(drift: Drift, synced_plainly: tuple[str, dict[str, str]]) -> None:
    keyspace, done = synced_plainly
    assert done[drift.table] == fill_in(drift.plain, keyspace, drift.table)


def run_sync_table(database: Database, keyspace: str, model: type[StoreModel]) -> str:
    """Run cqlengine's own `sync_table` on a real connection, and say what it did."""
    sent: list[str] = []

    def execute(query: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(getattr(query, "query_string", query).strip())
        return database.raw.execute(query, *arguments, **options)

    name = f"plain-{uuid.uuid4()}"
    connection.register_connection(name, lazy_connect=True)
    registered = connection._connections[name]
    registered.lazy_connect = False
    registered.cluster = database.cluster
    registered.session = SimpleNamespace(execute=execute, cluster=database.cluster)
    raised = ""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sync_table(model, keyspaces=[keyspace], connections=[name])
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is to be shown
        raised = type(error).__name__
    finally:
        registered.cluster = SimpleNamespace(shutdown=lambda: None)
        connection.unregister_connection(name)
    told = [f"sends `{cql}`" for cql in sent]
    told += ["warns"] * any("Model should be updated" in str(one.message) for one in caught)
    told += [f"raises `{raised}`"] if raised else []
    return ", ".join(told) or "nothing"


@pytest.mark.parametrize("drift", KEYSPACE_DRIFTS, ids=[drift.name for drift in KEYSPACE_DRIFTS])
def test_a_keyspace_is_compared_too(drift: KeyspaceDrift, one_copy: Settings, cluster: Database) -> None:
    with new_keyspace(one_copy, cluster) as own:
        keyspace = own.cassandra_keyspace
        wanted = replace(
            own,
            cassandra_replication_factor=drift.replicas,
            cassandra_datacenter=drift.datacenter or own.cassandra_datacenter,
        )
        if drift.made:
            cluster.raw.execute(fill_in(drift.made, keyspace, drift.name))
        planned = plan(cluster, wanted, ())
        assert say(planned.steps) == expect(drift.planned, keyspace, drift.name)
        assert all(step.why.startswith(one.why) for step, one in zip(planned.steps, drift.planned, strict=True))
        done = run_sync_table(cluster, keyspace, SHELVES)
        assert re.sub(r"sends `CREATE TABLE [^`]*`", MADE_ANYWAY, done) == drift.plain
        for step in planned.allowing({str(step.destroys) for step in planned.steps}):
            cluster.raw.execute(step.cql)
        assert [step for step in plan(cluster, wanted, ()).steps if step.destroys != "table:shelves"] == [
            *planned.blocked
        ]


SHELVES = make_model("shelves", shelf())


def write_all(database: Database, keyspace: str, rows: list[str]) -> None:
    for row in rows:
        cql = f"INSERT INTO {keyspace}.shelves (aisle, level, label) VALUES ('{row}', 1, 'x')"
        database.raw.execute(SimpleStatement(cql, consistency_level=ConsistencyLevel.QUORUM))


def read_all(database: Database, keyspace: str, rows: list[str]) -> list[str]:
    """Return those of the rows that a quorum finds."""
    found = []
    for row in rows:
        cql = f"SELECT label FROM {keyspace}.shelves WHERE aisle = '{row}'"
        found += [row] * len(
            list(database.raw.execute(SimpleStatement(cql, consistency_level=ConsistencyLevel.QUORUM)))
        )
    return found


def test_copies_are_added_one_at_a_time_so_that_no_quorum_misses_a_row(
    one_copy: Settings, three_nodes: Cluster
) -> None:
    settings = replace(
        one_copy, cassandra_hosts=tuple(three_nodes.addresses), cassandra_port=9042, cassandra_replication_factor=3
    )
    database = open_database(settings)
    try:
        with new_keyspace(settings, database) as own:
            keyspace = own.cassandra_keyspace
            sync(database, replace(own, cassandra_replication_factor=1), (SHELVES,))
            rows = [str(number) for number in range(60)]
            write_all(database, keyspace, rows)
            for copies, is_last in ((2, False), (3, True)):
                (step,) = plan(database, own, (SHELVES,)).steps
                assert (step.destroys, f"'dc1': '{copies}'" in step.cql) == (f"replicas:{keyspace}", True)
                assert ("only then plan again" in str(step.follow_up)) is not is_last
                sync(database, own, (SHELVES,))
                assert plan(database, own, (SHELVES,)).steps == (step,), "nobody has allowed it"
                database.raw.execute(step.cql)
                # Reading a row at a quorum of two repairs it: what stands for the repair that the step asks for.
                assert read_all(database, keyspace, rows) == rows
            assert plan(database, own, (SHELVES,)).is_in_line
    finally:
        database.close()


def run_cli(own: Settings, *arguments: str) -> Any:
    environment = {
        "CASSANDRA_HOSTS": ",".join(own.cassandra_hosts),
        "CASSANDRA_PORT": str(own.cassandra_port),
        "CASSANDRA_KEYSPACE": own.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": str(own.cassandra_replication_factor),
    }
    return CliRunner().invoke(main, ["schema", *arguments], env=environment)


def test_check_tells_pipelines_by_its_status_and_plan_tells_people_what_to_allow(
    one_copy: Settings, cluster: Database
) -> None:
    with new_keyspace(one_copy, cluster) as own:
        sync(cluster, own)
        in_line = run_cli(own, "check")
        assert (in_line.exit_code, in_line.stdout.strip()) == (
            0,
            f"Keyspace {own.cassandra_keyspace} is in line with the Models: nothing to do",
        )
        assert run_cli(own, "plan").exit_code == 0

        cluster.raw.execute(f"ALTER TABLE {own.cassandra_keyspace}.products ADD colour text")
        drifted = run_cli(own, "check")
        assert drifted.exit_code == 1
        assert "drop column products.colour (safe, only with --allow column:products.colour)" in drifted.stdout
        told = json.loads(run_cli(own, "check", "--json").stdout)
        assert (told["in_line"], [step["destroys"] for step in told["steps"]]) == (False, ["column:products.colour"])
        assert run_cli(own, "check", "--despite-leftovers").exit_code == 0

        planned = run_cli(own, "plan")
        assert planned.exit_code == 0, "nothing is blocked"
        assert f"\nALTER TABLE {own.cassandra_keyspace}.products DROP IF EXISTS colour;\n" in planned.stdout
        assert "afterwards: use this name for no column of another type" in planned.stdout
        assert planned.stdout.splitlines()[-1].endswith("1 step, 1 to be named by --allow")

        unreachable = replace(own, cassandra_replication_factor=9)
        blocked = run_cli(unreachable, "plan")
        assert blocked.exit_code == 1
        assert "refused" in blocked.stdout
        assert blocked.stdout.splitlines()[-1].endswith("2 steps, 1 to be named by --allow, 1 blocked")
        assert run_cli(unreachable, "check", "--despite-leftovers").exit_code == 1
