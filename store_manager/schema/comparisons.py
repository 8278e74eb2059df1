"""Tables as the Models declare them, compared with those that exist: each difference is a step.

Nothing here talks to the cluster. What a keyspace's replication is compared with stands in `replications`, what the
values of options mean in `options`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cassandra.metadata import protect_name

from store_manager.schema import options
from store_manager.schema.notes import note_table
from store_manager.schema.steps import Safety, Step
from store_manager.schema.tables import find_differences, identify, shape_of_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from store_manager.schema.keyspaces import Existing, Keyspace
    from store_manager.schema.tables import Column, Difference, Shape, Table

TOOL_TABLES = "schema_"
"""How the names of the tables begin that the schema's tools keep for themselves: no plan looks at them."""

_READ_AS = {
    ("bigint", "timestamp"),
    ("timestamp", "bigint"),
    ("ascii", "text"),
    ("timeuuid", "uuid"),
    *(
        (simple, "blob")
        for simple in ("ascii", "date", "decimal", "duration", "inet", "smallint", "text", "time", "tinyint", "varint")
    ),
}
"""Types that a dropped column had, and others under which Cassandra takes its name back: tried, one pair at a time."""

_NOT_ALONE = "Cassandra 4.1 takes no statement that changes this option and nothing else of a table"

_NO_ID_TWICE = "use this name for no other table of this keyspace: the id would come back, and lost rows with it"


def create_table(keyspace: str, table: Table, known_options: Collection[str]) -> list[Step]:
    """Return the steps that make a table that does not exist."""
    refused = [*_refuse_columns(table, {}), *_refuse_options(table, known_options)]
    return refused or [_describe(keyspace, table, cql) for cql in note_table(keyspace, table.model, None)]


def change_table(keyspace: str, table: Table, existing: Existing, known_options: Collection[str]) -> list[Step]:
    """Return the steps that give an existing table all that its Models declare."""
    shape = shape_of_table(existing.metadata)
    blocked = list(_find_blocked(table, existing, shape))
    if _key_of(shape) != _key_of(table.shape):
        return blocked  # it has to be made anew as a whole
    refused = {step.what: step for step in _refuse_columns(table, shape, existing.dropped)}
    noted = [_describe(keyspace, table, cql) for cql in note_table(keyspace, table.model, existing.metadata)]
    steps = [refused.get(step.what, step) for step in noted]
    return [
        *blocked,
        *steps,
        *_refuse_options(table, known_options, existing.options),
        *_set_options(keyspace, table, existing),
    ]


def remark_on_table(keyspace: str, table: Table, existing: Existing) -> list[str]:
    """Return sentences about what nobody has to change."""
    remarks = []
    if existing.id != identify(keyspace, table.name):
        remarks.append(
            f"Table {table.name} was made by something else: its id is {existing.id}, not the one that follows from "
            "its name. It works as any other, and no statement changes an id"
        )
    remarks += [
        f"Table {table.name} has an option that no Model declares: {options.tell([one])} as by default; {_NOT_ALONE}"
        for one in options.find_set_by_hand(table.options, existing.options)
        if one.name == options.UNHEARD
    ]
    if existing.metadata.triggers:
        remarks.append(f"Table {table.name} has triggers, which no Model declares: {_list(existing.metadata.triggers)}")
    return remarks


def remark_on_code(keyspace: Keyspace) -> list[str]:
    """Return a sentence for each function and aggregate: no Model can declare one."""
    return [
        f"Keyspace {keyspace.metadata.name} has the {kind} {signature}, which no Model can declare"
        for kind, found in (("function", keyspace.metadata.functions), ("aggregate", keyspace.metadata.aggregates))
        for signature in sorted(found)
    ]


def remove_leftovers(keyspace: Keyspace, tables: Iterable[Table]) -> list[Step]:
    """Return the steps that take away what no Model declares, in an order that Cassandra takes."""
    declared = {table.name: table for table in tables}
    name, found = protect_name(keyspace.metadata.name), keyspace.tables
    present = {table: one for table, one in found.items() if table in declared}
    undeclared = [table for table in found if table not in declared and not table.startswith(TOOL_TABLES)]
    return [
        *(_drop(name, "MATERIALIZED VIEW", view) for view in sorted(keyspace.metadata.views)),
        *(step for table, one in present.items() for step in _remove_indexes(name, declared[table], one)),
        *(step for table, one in present.items() for step in _remove_columns(name, declared[table], one)),
        *(step for table, one in present.items() for step in _reset_options(name, declared[table], one)),
        *(_drop(name, "TABLE", table, follow_up=_NO_ID_TWICE) for table in sorted(undeclared)),
        *(_drop(name, "TYPE", type_name) for type_name in sorted(keyspace.metadata.user_types)),
    ]


def _find_blocked(table: Table, existing: Existing, shape: Shape) -> Iterator[Step]:
    if existing.metadata.is_compact_storage:
        why = "it has COMPACT STORAGE, which no Model can declare, and which a cluster does not take away by itself"
        yield _migrate(f"take COMPACT STORAGE from table {table.name}", why)
    differences = find_differences(table.shape, shape)
    if _key_of(shape) != _key_of(table.shape):
        yield _migrate(f"give table {table.name} another key", "; ".join(map(str, differences)))
    else:
        yield from (_migrate(_name_change(table, one), str(one)) for one in differences)


def _migrate(what: str, why: str) -> Step:
    return Step(what, "", why, Safety.MIGRATION)


def _name_change(table: Table, difference: Difference) -> str:
    existing, declared, column = difference.existing, difference.declared, f"{table.name}.{difference.name}"
    if existing is None or declared is None or existing.type != declared.type:
        return f"change the type of column {column}"
    if declared.is_key:
        return f"turn the order of column {column}"
    return f"make column {column} {declared.role}"


def _key_of(shape: Shape) -> Mapping[str, str]:
    return {name: column.place for name, column in shape.items() if column.is_key}


def _describe(keyspace: str, table: Table, cql: str) -> Step:
    if cql.startswith("CREATE TABLE"):
        # cqlengine has no way to say the id.
        fixed_id = f"ID = {identify(keyspace, table.name)}"
        owners = ", ".join(owner.__name__ for owner in table.owners)
        cql = f"{cql} {'AND' if ' WITH ' in cql else 'WITH'} {fixed_id}"
        return Step(f"create table {table.name}", cql, f"declared by {owners}")
    column = re.findall(r'"(\w+)"', cql)[0]
    if cql.startswith("CREATE INDEX"):
        why = f"declared by {table.owner_of(column)}; every node reads the rows that it holds"
        return Step(f"index column {table.name}.{column}", cql, why, Safety.SLOW)
    return Step(_name_addition(table, column), cql, f"declared by {table.owner_of(column)}")


def _name_addition(table: Table, column: str) -> str:
    return f"add column {table.name}.{column}"


def _refuse_columns(table: Table, shape: Shape, dropped: Mapping[str, Column] | None = None) -> list[Step]:
    """Return a step for each column that Cassandra would not take; `shape` is what the table has, if it exists."""
    reasons = {
        name: _find_reason(table, column, shape, (dropped or {}).get(name))
        for name, column in table.shape.items()
        if name not in shape
    }
    return [Step(_name_addition(table, name), "", why, Safety.REFUSED) for name, why in reasons.items() if why]


def _find_reason(table: Table, column: Column, shape: Shape, dropped: Column | None) -> str | None:
    if column.is_static and not any("clustering" in one.role for one in table.shape.values()):
        return "it is static, and the table has no clustering column, so each partition has one row anyway"
    if shape and column.is_counter != any(one.is_counter for one in shape.values()):
        return "a table has counters or other columns, never both"
    if dropped is None or _may_come_back(column, dropped):
        return None
    return (
        f"a column of this name was {dropped} until it was dropped, and Cassandra does not take it back as {column}: "
        "choose another name"
    )


def _may_come_back(column: Column, dropped: Column) -> bool:
    same = column.type == dropped.type or (dropped.type, column.type) in _READ_AS
    return same and column.is_static == dropped.is_static


def _refuse_options(table: Table, known: Collection[str], existing: Mapping[str, Any] | None = None) -> list[Step]:
    reasons = {name: "no such option is known to this cluster" for name in table.options if name not in known}
    if existing is not None:
        kept = "the nodes take the statement and keep nothing: their configuration has cdc_enabled off"
        reasons |= {name: kept for name in table.options if options.is_lost(name, table.options, existing)}
    return [Step(f"set {name} of {table.name}", "", why, Safety.REFUSED) for name, why in reasons.items()]


def _set_options(keyspace: str, table: Table, existing: Existing) -> list[Step]:
    changes = options.find_changed(table.options, existing.options)
    if not changes:
        return []
    if [one.name for one in changes] == [options.UNHEARD]:
        why = f"{options.tell(changes)}; {_NOT_ALONE}"
        return [_migrate(f"set {options.UNHEARD} of {table.name}", why)]
    names = ", ".join(one.name for one in changes)
    values = options.write_options({one.name: one.wanted for one in changes})
    safety = Safety.SLOW if any(one.safety is Safety.SLOW for one in changes) else Safety.SAFE
    follow_up = "; ".join(dict.fromkeys(one.follow_up for one in changes if one.follow_up)) or None
    cql = f"ALTER TABLE {keyspace}.{protect_name(table.name)} WITH {values}"
    return [Step(f"set {names} of {table.name}", cql, options.tell(changes), safety, None, follow_up)]


def _reset_options(keyspace: str, table: Table, existing: Existing) -> list[Step]:
    return [
        Step(
            f"set {one.name} of {table.name} back",
            f"ALTER TABLE {keyspace}.{protect_name(table.name)} WITH {options.write_options({one.name: one.wanted})}",
            f"set by hand: {options.tell([one])} as by default, and no Model declares it",
            one.safety,
            f"option:{table.name}.{one.name}",
            one.follow_up,
        )
        for one in options.find_set_by_hand(table.options, existing.options)
        if one.name != options.UNHEARD
    ]


def _remove_indexes(keyspace: str, table: Table, existing: Existing) -> list[Step]:
    wanted = {target for name in table.indexed for target in (protect_name(name), f"values({protect_name(name)})")}
    return [
        _drop(
            keyspace,
            "INDEX",
            name,
            why=f"no Model declares an index on {index.index_options['target']} of {table.name}",
        )
        for name, index in sorted(existing.metadata.indexes.items())
        if index.index_options["target"] not in wanted
    ]


def _remove_columns(keyspace: str, table: Table, existing: Existing) -> list[Step]:
    shape = shape_of_table(existing.metadata)
    if _key_of(shape) != _key_of(table.shape):
        return []  # it has to be made anew as a whole
    return [
        Step(
            f"drop column {table.name}.{name}",
            f"ALTER TABLE {keyspace}.{protect_name(table.name)} DROP IF EXISTS {protect_name(name)}",
            f"no Model declares it, {column}{_tell_obstacles(name, existing.metadata)}",
            destroys=f"column:{table.name}.{name}",
            follow_up="use this name for no column of another type",
        )
        for name, column in shape.items()
        if name not in table.shape
    ]


def _tell_obstacles(column: str, metadata: Any) -> str:
    """Say what has to be gone before Cassandra drops a column."""
    indexes = [
        f"index:{name}"
        for name, index in sorted(metadata.indexes.items())
        if column in re.findall(r"\w+", index.index_options["target"])
    ]
    obstacles = indexes + [f"view:{name}" for name in sorted(metadata.views)]
    return f"; only after {', '.join(obstacles)}" if obstacles else ""


def _drop(keyspace: str, kind: str, name: str, why: str = "no Model declares it", follow_up: str | None = None) -> Step:
    short = kind.rpartition(" ")[2].lower()
    return Step(
        f"drop {kind.lower()} {name}",
        f"DROP {kind} IF EXISTS {keyspace}.{protect_name(name)}",
        why,
        destroys=f"{short}:{name}",
        follow_up=follow_up,
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
