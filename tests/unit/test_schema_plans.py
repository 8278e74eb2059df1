"""The plan of what can't be made on the Cassandra of the tests, the order of steps, and what of a plan may be run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from cassandra.cqlengine import columns
from cassandra.metadata import ColumnMetadata, IndexMetadata, NetworkTopologyStrategy, TableMetadataV3
from drifts import DRIFTS, KEYSPACE_DRIFTS, describe_as_markdown

from store_manager.models.base import StoreModel
from store_manager.schema.keyspaces import Existing, Findings, Keyspace
from store_manager.schema.options import DEFAULTS
from store_manager.schema.plans import compare
from store_manager.schema.replications import Ring
from store_manager.schema.steps import Plan, Safety, Step
from store_manager.schema.tables import declare, identify
from store_manager.settings import Settings

SETTINGS = Settings(cassandra_keyspace="store", cassandra_replication_factor=3)


class Shelf(StoreModel):
    __table_name__ = "shelves"
    __options__ = {}  # noqa: RUF012 - cqlengine's own form

    aisle = columns.Text(partition_key=True)
    label = columns.Text()


def table(name: str, *more: str) -> Existing:
    """A table as the nodes tell it, with the columns of `Shelf` and more."""
    metadata = TableMetadataV3("store", name, options=dict(DEFAULTS))
    metadata.columns = {one: ColumnMetadata(metadata, one, "text") for one in ("aisle", "label", *more)}
    metadata.partition_key = [metadata.columns["aisle"]]
    metadata.is_compact_storage = False
    return Existing(metadata, identify("store", name), dict(DEFAULTS))


def plan_of(*tables: Existing, **more: Any) -> Plan:
    parts = {"views": {}, "user_types": {}, "functions": {}, "aggregates": {}} | more
    metadata = SimpleNamespace(
        name="store", durable_writes=True, replication_strategy=NetworkTopologyStrategy({"dc1": 3}), **parts
    )
    keyspace = Keyspace(metadata, {one.metadata.name: one for one in tables})
    ring = Ring(tuple(SimpleNamespace(datacenter="dc1") for _ in range(3)), None)
    return compare(SETTINGS, declare((Shelf,)), Findings(keyspace, ring, frozenset(DEFAULTS)))


def test_what_is_as_declared_needs_no_step_and_no_remark() -> None:
    assert plan_of(table("shelves")) == Plan()


def test_leftovers_are_taken_away_last_and_in_an_order_that_cassandra_takes() -> None:
    shelves = table("shelves", "colour")
    shelves.metadata.indexes = {
        "by_colour": IndexMetadata("store", "shelves", "by_colour", "COMPOSITES", {"target": "colour"})
    }
    shelves.metadata.views = {"by_label": object()}
    left = {"views": {"by_label": object()}, "user_types": {"size": object()}}
    planned = plan_of(shelves, table("old_things"), **left)
    assert [(step.cql, step.destroys) for step in planned.steps] == [
        ("DROP MATERIALIZED VIEW IF EXISTS store.by_label", "view:by_label"),
        ("DROP INDEX IF EXISTS store.by_colour", "index:by_colour"),
        ("ALTER TABLE store.shelves DROP IF EXISTS colour", "column:shelves.colour"),
        ("DROP TABLE IF EXISTS store.old_things", "table:old_things"),
        ("DROP TYPE IF EXISTS store.size", "type:size"),
    ]
    assert planned.steps[2].why.endswith("; only after index:by_colour, view:by_label")
    assert planned.runnable == planned.blocked == planned.lacking == ()


def test_no_plan_looks_at_the_tables_of_the_tools() -> None:
    assert plan_of(table("shelves"), table("schema_lock")) == Plan()


def test_what_no_model_can_declare_is_remarked() -> None:
    shelves = table("shelves")
    shelves.metadata.triggers = {"on_write": object()}
    planned = plan_of(shelves, functions={"half(int)": object()}, aggregates={"sum(int)": object()})
    assert planned.is_in_line
    assert planned.remarks == (
        "Table shelves has triggers, which no Model declares: on_write",
        "Keyspace store has the function half(int), which no Model can declare",
        "Keyspace store has the aggregate sum(int), which no Model can declare",
    )


def test_a_table_that_somebody_else_made_is_remarked() -> None:
    shelves = table("shelves")
    planned = plan_of(Existing(shelves.metadata, uuid4(), shelves.options))
    assert planned.is_in_line
    assert "Table shelves was made by something else" in planned.remarks[0]


def test_a_keyspace_that_is_missing_comes_before_its_tables() -> None:
    ring = Ring((SimpleNamespace(datacenter="dc1"),), None)
    planned = compare(SETTINGS, declare((Shelf,)), Findings(None, ring, frozenset(DEFAULTS)))
    assert [step.what for step in planned.steps] == ["create keyspace store", "create table shelves"]


def test_a_destructive_step_runs_only_if_it_is_named_and_a_blocked_one_never() -> None:
    add, drop = Step("add", "ADD", "why"), Step("drop", "DROP", "why", destroys="column:a.b")
    move, change = Step("move", "", "why", Safety.MIGRATION), Step("change", "", "why", Safety.REFUSED)
    planned = Plan((add, move, change, drop))
    assert planned.runnable == (add,)
    assert planned.allowing({"column:a.b", "table:none"}) == (add, drop)
    assert planned.destructive == (drop,)
    assert planned.blocked == (move, change)
    assert not planned.is_in_line


def test_the_page_of_all_drifts_is_made_from_the_cases_that_are_tested() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "reference" / "schema-drift.md"
    assert page.read_text(encoding="utf-8") == describe_as_markdown()
    assert len(DRIFTS) + len(KEYSPACE_DRIFTS) >= 40


def test_other_replicas_are_no_leftover() -> None:
    more = Step("more", "ALTER", "why", Safety.SLOW, "replicas:store")
    reset = Step("reset", "ALTER", "why", destroys="option:a.comment")
    assert Plan((more, reset)).lacking == (more,)
