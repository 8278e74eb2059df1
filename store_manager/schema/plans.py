"""The plan: which statements would bring a keyspace in line with the Models, in order, and why.

Nothing here changes the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cassandra.metadata import TableMetadataV3

from store_manager.models import MODELS
from store_manager.schema.agreements import learn_schema
from store_manager.schema.faults import SchemaRefused
from store_manager.schema.notes import note_keyspace, note_table
from store_manager.schema.steps import Plan, Step
from store_manager.schema.tables import contradictions, declare, identify, shape_of_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_manager.database.connections import Database
    from store_manager.models import StoreModel
    from store_manager.schema.tables import Table
    from store_manager.settings import Settings


TOOL_TABLES = "schema_"
"""How the names of the tables begin that the schema's tools keep for themselves: no plan looks at them."""


def plan(database: Database, settings: Settings, models: tuple[type[StoreModel], ...] = MODELS) -> Plan:
    """Return the steps that bring the keyspace of the settings in line with the Models; none if it already is.

    Raises SchemaRefused if keys, types, static columns or clustering orders differ, SchemaDisagreement if the nodes
    don't agree on what there is.
    """
    tables = declare(models)
    learn_schema(database)
    existing = _find_tables(database, settings)
    steps = [] if existing is not None else [_plan_keyspace(settings)]
    existing = existing or {}
    _refuse_contradictions(settings, tables, existing)
    for table in tables:
        steps += _plan_table(settings, table, existing.get(table.name))
    return Plan(tuple(steps))


def _find_tables(database: Database, settings: Settings) -> Mapping[str, Any] | None:
    keyspace = database.cluster.metadata.keyspaces.get(settings.cassandra_keyspace)
    return None if keyspace is None else dict(keyspace.tables)


def _refuse_contradictions(settings: Settings, tables: Iterable[Table], existing: Mapping[str, Any]) -> None:
    found = [
        f"{table.name}: {sentence}"
        for table in tables
        if table.name in existing
        for sentence in contradictions(table.shape, shape_of_table(existing[table.name]))
    ]
    if found:
        raise SchemaRefused(
            f"Keyspace {settings.cassandra_keyspace} differs from the Models in what can't be changed in place, so "
            f"nothing was run: {'; '.join(found)}",
            differences=found,
        )


def _plan_keyspace(settings: Settings) -> Step:
    keyspace = settings.cassandra_keyspace
    cql = note_keyspace(keyspace, {settings.cassandra_datacenter: settings.cassandra_replication_factor})
    return Step(f"create keyspace {keyspace}", cql, "there is none of this name")


def _plan_table(settings: Settings, table: Table, existing: Any | None) -> list[Step]:
    statements = note_table(settings.cassandra_keyspace, table.model, existing)
    steps = [_describe(settings, table, cql) for cql in statements]
    return steps if existing is None else [*steps, *_plan_options(settings, table, existing)]


def _describe(settings: Settings, table: Table, cql: str) -> Step:
    if cql.startswith("CREATE TABLE"):
        # cqlengine has no way to say the id.
        fixed_id = f"ID = {identify(settings.cassandra_keyspace, table.name)}"
        owners = ", ".join(owner.__name__ for owner in table.owners)
        cql = f"{cql} {'AND' if ' WITH ' in cql else 'WITH'} {fixed_id}"
        return Step(f"create table {table.name}", cql, f"declared by {owners}")
    column = re.findall(r'"(\w+)"', cql)[0]
    verb = "index" if cql.startswith("CREATE INDEX") else "add"
    return Step(f"{verb} column {table.name}.{column}", cql, f"declared by {table.owner_of(column)}")


def _plan_options(settings: Settings, table: Table, existing: Any) -> list[Step]:
    declared: Mapping[str, Any] = table.model.__options__ or {}
    changed = {name: value for name, value in declared.items() if not _is_same(value, existing.options.get(name))}
    if not changed:
        return []
    values = TableMetadataV3._make_option_strings(changed)  # noqa: SLF001 - what cqlengine writes options with
    cql = f"ALTER TABLE {settings.cassandra_keyspace}.{table.name} WITH {' AND '.join(values)}"
    why = ", ".join(f"{name} is {existing.options.get(name)}" for name in changed)
    return [Step(f"set {', '.join(changed)} of {table.name}", cql, why)]


def _is_same(declared: Any, existing: Any) -> bool:
    if isinstance(declared, Mapping):
        return all(_is_same(value, (existing or {}).get(name)) for name, value in declared.items())
    return str(declared) == str(existing)
