"""Every kind of drift: how a cluster comes to it, what `plan` says of it, and what plain `sync_table` does.

`tests/integration/test_schema_drift.py` makes each of them on a real Cassandra and holds all this against what happens
there; `python tests/drifts.py` prints the table as `docs/reference/schema-drift.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from cassandra.cqlengine import columns

from store_manager.models.base import StoreModel
from store_manager.schema.steps import Safety
from store_manager.schema.tables import identify

SAFE, SLOW, MIGRATION, REFUSED = Safety.SAFE, Safety.SLOW, Safety.MIGRATION, Safety.REFUSED
KEYSPACE = "store"
"""What the page calls the keyspace."""


@dataclass(frozen=True)
class Planned:
    """What is said of a step: what an operator copies, and how it begins why a step is blocked."""

    safety: Safety
    cql: str = ""
    destroys: str | None = None
    follow_up: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Drift:
    """A drift of one table: what an earlier version declared, what somebody did by hand, what is declared now.

    In all texts `{keyspace}` stands for the keyspace, `{table}` for the table with its keyspace, and `{id}` for the id
    that follows from both. `remark` is how what is told begins where nothing has to be done; `plain` is what
    `sync_table` does.
    """

    title: str
    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    planned: tuple[Planned, ...]
    plain: str
    by_hand: tuple[str, ...] = ()
    remark: str = ""

    @property
    def model_before(self) -> type[StoreModel] | None:
        """The Model of the earlier version, if there was one."""
        return None if self.before is None else make_model(self.table, self.before)

    @property
    def model(self) -> type[StoreModel] | None:
        """The Model now, if there is one."""
        return None if self.after is None else make_model(self.table, self.after)


@dataclass(frozen=True)
class KeyspaceDrift:
    """A drift of a keyspace: the statement by which it was made (none: it was not), and what the settings want."""

    title: str
    name: str
    made: str
    planned: tuple[Planned, ...]
    plain: str
    replicas: int = 1
    datacenter: str = ""
    """Another data centre than that of the nodes."""


def fill_in(text: str, keyspace: str, table: str) -> str:
    """Return a text of a drift with the names of a keyspace and of a table."""
    filled = text.replace("{table}", f"{keyspace}.{table}").replace("{id}", str(identify(keyspace, table)))
    return filled.replace("{keyspace}", keyspace)


def make_model(table: str, declared: dict[str, Any]) -> type[StoreModel]:
    """Return a Model with these columns and options."""
    return type(table.title().replace("_", ""), (StoreModel,), {"__table_name__": table, **declared})


def shelf(options: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return the columns of a table with a clustering key; None takes a column away."""
    declared = {
        "aisle": columns.Text(partition_key=True),
        "level": columns.Integer(primary_key=True),
        "label": columns.Text(),
        **changed,
    }
    return {"__options__": options or {}, **{name: column for name, column in declared.items() if column is not None}}


DRIFTS: tuple[Drift, ...] = (
    Drift(
        "A table is missing",
        "table_missing",
        None,
        shelf(),
        (
            Planned(
                SAFE,
                (
                    'CREATE TABLE IF NOT EXISTS {table} ("aisle" text , "level" int , "label" text , '
                    'PRIMARY KEY (("aisle"), "level")) WITH CLUSTERING ORDER BY ("level" ASC) AND ID = '
                    "{id}"
                ),
            ),
        ),
        (
            'sends `CREATE TABLE {table} ("aisle" text , "level" int , "label" text , PRIMARY KEY '
            '(("aisle"), "level")) WITH CLUSTERING ORDER BY ("level" ASC)`'
        ),
    ),
    Drift(
        "A column is missing",
        "column_missing",
        shelf(),
        shelf(colour=columns.Text()),
        (Planned(SAFE, 'ALTER TABLE {table} ADD IF NOT EXISTS "colour" text'),),
        'sends `ALTER TABLE {table} add "colour" text`',
    ),
    Drift(
        "A static column is missing",
        "static_missing",
        shelf(),
        shelf(keeper=columns.Text(static=True)),
        (Planned(SAFE, 'ALTER TABLE {table} ADD IF NOT EXISTS "keeper" text static'),),
        'sends `ALTER TABLE {table} add "keeper" text static`',
    ),
    Drift(
        "A column is missing that was there once, with another type",
        "name_taken",
        shelf(),
        shelf(colour=columns.Text()),
        (
            Planned(
                REFUSED,
                why=(
                    "a column of this name was int (plain) until it was dropped, and Cassandra does not "
                    "take it back as text (plain): choose another name"
                ),
            ),
        ),
        'sends `ALTER TABLE {table} add "colour" text`, raises `InvalidRequest`',
        by_hand=("ALTER TABLE {table} ADD colour int", "ALTER TABLE {table} DROP colour"),
    ),
    Drift(
        "A static column is declared for a table without clustering key",
        "static_alone",
        shelf(level=None),
        shelf(level=None, keeper=columns.Text(static=True)),
        (
            Planned(
                REFUSED,
                why=("it is static, and the table has no clustering column, so each partition has one row anyway"),
            ),
        ),
        'sends `ALTER TABLE {table} add "keeper" text static`, raises `InvalidRequest`',
    ),
    Drift(
        "A counter is declared for a table that has other columns",
        "counter_beside",
        shelf(),
        shelf(label=None, seen=columns.Counter()),
        (
            Planned(REFUSED, why="a table has counters or other columns, never both"),
            Planned(
                SAFE,
                "ALTER TABLE {table} DROP IF EXISTS label",
                "column:counter_beside.label",
                "use this name for no column of another type",
            ),
        ),
        'sends `ALTER TABLE {table} add "seen" counter`, raises `ConfigurationException`',
    ),
    Drift(
        "A column that no Model declares any more",
        "column_left",
        shelf(colour=columns.Text()),
        shelf(),
        (
            Planned(
                SAFE,
                "ALTER TABLE {table} DROP IF EXISTS colour",
                "column:column_left.colour",
                "use this name for no column of another type",
            ),
        ),
        "nothing",
    ),
    Drift(
        "The same, with an index on it",
        "indexed_column_left",
        shelf(colour=columns.Text(index=True)),
        shelf(),
        (
            Planned(SAFE, "DROP INDEX IF EXISTS {table}_colour_idx", "index:indexed_column_left_colour_idx"),
            Planned(
                SAFE,
                "ALTER TABLE {table} DROP IF EXISTS colour",
                "column:indexed_column_left.colour",
                "use this name for no column of another type",
            ),
        ),
        "nothing",
    ),
    Drift(
        "A column has another type",
        "type_changed",
        shelf(),
        shelf(label=columns.Integer()),
        (Planned(MIGRATION, why="column label is text (plain), declared int (plain)"),),
        "warns",
    ),
    Drift(
        "A collection holds another type",
        "collection_changed",
        shelf(marks=columns.Set(columns.Integer())),
        shelf(marks=columns.Set(columns.Text())),
        (Planned(MIGRATION, why="column marks is set<int> (plain), declared set<text> (plain)"),),
        "warns",
    ),
    Drift(
        "A column is static now",
        "static_now",
        shelf(),
        shelf(label=columns.Text(static=True)),
        (Planned(MIGRATION, why="column label is text (plain), declared text (static)"),),
        "nothing",
    ),
    Drift(
        "A column is static no more",
        "static_no_more",
        shelf(label=columns.Text(static=True)),
        shelf(),
        (Planned(MIGRATION, why="column label is text (static), declared text (plain)"),),
        "nothing",
    ),
    Drift(
        "The clustering order is turned",
        "order_turned",
        shelf(),
        shelf(level=columns.Integer(primary_key=True, clustering_order="DESC")),
        (
            Planned(
                MIGRATION,
                why=("column level is int (clustering key 1, ascending), declared int (clustering key 1, descending)"),
            ),
        ),
        "nothing",
    ),
    Drift(
        "A key column has another type",
        "key_type",
        shelf(),
        shelf(level=columns.Text(primary_key=True)),
        (
            Planned(
                MIGRATION,
                why=("column level is int (clustering key 1, ascending), declared text (clustering key 1, ascending)"),
            ),
        ),
        "warns",
    ),
    Drift(
        "A key column is added",
        "key_added",
        shelf(),
        shelf(row=columns.Integer(primary_key=True)),
        (
            Planned(
                MIGRATION,
                why=(
                    "column level is int (clustering key 1, ascending), declared int (clustering key 2, "
                    "ascending); column row, declared int (clustering key 1, ascending), is not in the "
                    "table's key"
                ),
            ),
        ),
        "raises `CQLEngineException`",
    ),
    Drift(
        "A key column is removed",
        "key_removed",
        shelf(row=columns.Integer(primary_key=True)),
        shelf(),
        (
            Planned(
                MIGRATION,
                why=(
                    "column level is int (clustering key 2, ascending), declared int (clustering key 1, "
                    "ascending); column row is int (clustering key 1, ascending), not declared"
                ),
            ),
        ),
        "raises `CQLEngineException`",
    ),
    Drift(
        "Key columns change places",
        "key_reordered",
        shelf(row=columns.Integer(primary_key=True)),
        shelf() | {"row": columns.Integer(primary_key=True)},
        (
            Planned(
                MIGRATION,
                why=(
                    "column level is int (clustering key 2, ascending), declared int (clustering key 1, ascending); "
                    "column row is int (clustering key 1, ascending), declared int (clustering key 2, ascending)"
                ),
            ),
        ),
        "raises `CQLEngineException`",
    ),
    Drift(
        "A clustering column belongs to the partition key",
        "key_moved",
        shelf(),
        shelf(level=columns.Integer(partition_key=True)),
        (
            Planned(
                MIGRATION,
                why=(
                    "column level is int (clustering key 1, ascending), declared int (partition key 1); "
                    "column aisle is text (partition key 1), declared text (partition key 2)"
                ),
            ),
        ),
        "raises `CQLEngineException`",
    ),
    Drift(
        "An index is missing",
        "index_missing",
        shelf(),
        shelf(label=columns.Text(index=True)),
        (Planned(SLOW, 'CREATE INDEX IF NOT EXISTS ON {table} ("label")'),),
        'sends `CREATE INDEX ON {table} ("label")`',
    ),
    Drift(
        "An index that no Model declares any more",
        "index_left",
        shelf(label=columns.Text(index=True)),
        shelf(),
        (Planned(SAFE, "DROP INDEX IF EXISTS {table}_label_idx", "index:index_left_label_idx"),),
        "nothing",
    ),
    Drift(
        "An index is on another column",
        "index_moved",
        shelf(label=columns.Text(index=True), colour=columns.Text()),
        shelf(colour=columns.Text(index=True)),
        (
            Planned(SLOW, 'CREATE INDEX IF NOT EXISTS ON {table} ("colour")'),
            Planned(SAFE, "DROP INDEX IF EXISTS {table}_label_idx", "index:index_moved_label_idx"),
        ),
        'sends `CREATE INDEX ON {table} ("colour")`',
    ),
    Drift(
        "`speculative_retry` is another than declared",
        "retry_changed",
        shelf({"speculative_retry": "MIN(99p,50ms)"}),
        shelf({"speculative_retry": "MIN(99p,50ms)"}),
        (Planned(SAFE, "ALTER TABLE {table} WITH speculative_retry = 'MIN(99p,50ms)'"),),
        ("sends `ALTER TABLE {table} WITH speculative_retry = '''MIN(99p,50ms)'''`, raises `ConfigurationException`"),
        by_hand=("ALTER TABLE {table} WITH speculative_retry = '90p'",),
    ),
    Drift(
        "`additional_write_policy` is another than declared",
        "write_policy",
        shelf(),
        shelf({"additional_write_policy": "50ms"}),
        (
            Planned(
                MIGRATION,
                why=(
                    "additional_write_policy is '99p', not '50ms'; Cassandra 4.1 takes no statement that "
                    "changes this option and nothing else of a table"
                ),
            ),
        ),
        ("sends `ALTER TABLE {table} WITH additional_write_policy = '''50ms'''`, raises `ConfigurationException`"),
    ),
    Drift(
        "The same, and another option too",
        "policy_and_more",
        shelf(),
        shelf({"additional_write_policy": "50ms", "read_repair": "NONE"}),
        (Planned(SAFE, "ALTER TABLE {table} WITH additional_write_policy = '50ms' AND read_repair = 'NONE'"),),
        (
            "sends `ALTER TABLE {table} WITH additional_write_policy = '''50ms''' AND read_repair "
            "= '''NONE'''`, raises `ConfigurationException`"
        ),
    ),
    Drift(
        "`additional_write_policy` is another than by default, and not declared",
        "policy_left",
        shelf({"additional_write_policy": "50ms"}),
        shelf(),
        (),
        "nothing",
        remark="Table policy_left has an option that no Model declares",
    ),
    Drift(
        "`gc_grace_seconds` is declared shorter",
        "grace_shorter",
        shelf(),
        shelf({"gc_grace_seconds": 86400}),
        (
            Planned(
                SAFE,
                "ALTER TABLE {table} WITH gc_grace_seconds = 86400",
                follow_up="repair every node at least every 86400 s, or rows that were deleted come back",
            ),
        ),
        "sends `ALTER TABLE {table} WITH gc_grace_seconds = '86400'`",
    ),
    Drift(
        "`gc_grace_seconds` was set by hand",
        "grace_by_hand",
        shelf(),
        shelf(),
        (Planned(SAFE, "ALTER TABLE {table} WITH gc_grace_seconds = 864000", "option:grace_by_hand.gc_grace_seconds"),),
        "nothing",
        by_hand=("ALTER TABLE {table} WITH gc_grace_seconds = 5",),
    ),
    Drift(
        "`default_time_to_live` is another than declared",
        "time_to_live",
        shelf(),
        shelf({"default_time_to_live": 86400}),
        (Planned(SAFE, "ALTER TABLE {table} WITH default_time_to_live = 86400"),),
        "sends `ALTER TABLE {table} WITH default_time_to_live = '86400'`",
    ),
    Drift(
        "`compaction` is another than declared",
        "compaction_changed",
        shelf(),
        shelf({"compaction": {"class": "LeveledCompactionStrategy", "sstable_size_in_mb": "64"}}),
        (
            Planned(
                SLOW,
                (
                    "ALTER TABLE {table} WITH compaction = {'class': 'LeveledCompactionStrategy', "
                    "'sstable_size_in_mb': '64'}"
                ),
            ),
        ),
        (
            "sends `ALTER TABLE {table} WITH compaction = {'class': 'LeveledCompactionStrategy', "
            "'sstable_size_in_mb': '64'}`"
        ),
    ),
    Drift(
        "A part of a declared `compaction` was set by hand",
        "compaction_by_hand",
        shelf({"compaction": {"class": "SizeTieredCompactionStrategy"}}),
        shelf({"compaction": {"class": "SizeTieredCompactionStrategy"}}),
        (Planned(SLOW, "ALTER TABLE {table} WITH compaction = {'class': 'SizeTieredCompactionStrategy'}"),),
        ("sends `ALTER TABLE {table} WITH compaction = {'class': 'SizeTieredCompactionStrategy'}`"),
        by_hand=(
            (
                "ALTER TABLE {table} WITH compaction = "
                "{'class': 'SizeTieredCompactionStrategy', 'tombstone_threshold': '0.9'}"
            ),
        ),
    ),
    Drift(
        "`compression` is another than declared",
        "compression_changed",
        shelf(),
        shelf({"compression": {"class": "ZstdCompressor"}}),
        (
            Planned(
                SAFE,
                "ALTER TABLE {table} WITH compression = {'class': 'ZstdCompressor'}",
                follow_up="`nodetool upgradesstables -a` on each node, to rewrite what is on its disk already",
            ),
        ),
        "sends `ALTER TABLE {table} WITH compression = {'class': 'ZstdCompressor'}`",
    ),
    Drift(
        "`caching` is another than declared",
        "caching_changed",
        shelf(),
        shelf({"caching": {"keys": "ALL", "rows_per_partition": "10"}}),
        (Planned(SAFE, "ALTER TABLE {table} WITH caching = {'keys': 'ALL', 'rows_per_partition': '10'}"),),
        ("sends `ALTER TABLE {table} WITH caching = {'keys': 'ALL', 'rows_per_partition': '10'}`"),
    ),
    Drift(
        "`bloom_filter_fp_chance` is another than declared",
        "filter_changed",
        shelf(),
        shelf({"bloom_filter_fp_chance": 0.001}),
        (
            Planned(
                SAFE,
                "ALTER TABLE {table} WITH bloom_filter_fp_chance = 0.001",
                follow_up="`nodetool upgradesstables -a` on each node, to rewrite what is on its disk already",
            ),
        ),
        "sends `ALTER TABLE {table} WITH bloom_filter_fp_chance = '0.001'`",
    ),
    Drift(
        "`read_repair` was set by hand",
        "read_repair_by_hand",
        shelf(),
        shelf(),
        (Planned(SAFE, "ALTER TABLE {table} WITH read_repair = 'BLOCKING'", "option:read_repair_by_hand.read_repair"),),
        "nothing",
        by_hand=("ALTER TABLE {table} WITH read_repair = 'NONE'",),
    ),
    Drift(
        "`comment` is another than declared, with `'`, `=` and `{`",
        "comment_changed",
        shelf(),
        shelf({"comment": "a shelf's key = {aisle"}),
        (Planned(SAFE, "ALTER TABLE {table} WITH comment = 'a shelf''s key = {aisle'"),),
        "raises `ValueError`",
    ),
    Drift(
        "The same `comment` is there, and a column is missing",
        "comment_there",
        shelf({"comment": "a shelf's key = {aisle"}),
        shelf({"comment": "a shelf's key = {aisle"}, colour=columns.Text()),
        (Planned(SAFE, 'ALTER TABLE {table} ADD IF NOT EXISTS "colour" text'),),
        'sends `ALTER TABLE {table} add "colour" text`, raises `ValueError`',
    ),
    Drift(
        "An option is declared that there is not",
        "option_unknown",
        shelf(),
        shelf({"colour": "red"}),
        (Planned(REFUSED, why="no such option is known to this cluster"),),
        "raises `KeyError`",
    ),
    Drift(
        "A table that no Model declares any more",
        "table_left",
        shelf(),
        None,
        (
            Planned(
                SAFE,
                "DROP TABLE IF EXISTS {table}",
                "table:table_left",
                ("use this name for no other table of this keyspace: the id would come back, and lost rows with it"),
            ),
        ),
        "is never called: there is no Model",
    ),
    Drift(
        "A type that no Model declares",
        "type_left",
        shelf(),
        shelf(),
        (Planned(SAFE, "DROP TYPE IF EXISTS {table}", "type:type_left"),),
        "nothing",
        by_hand=("CREATE TYPE {keyspace}.type_left (width int)",),
    ),
    Drift(
        "A table with COMPACT STORAGE",
        "compact",
        None,
        shelf(level=None),
        (
            Planned(
                MIGRATION,
                why=(
                    "it has COMPACT STORAGE, which no Model can declare, and which a cluster does not "
                    "take away by itself"
                ),
            ),
        ),
        "nothing",
        by_hand=("CREATE TABLE {table} (aisle text PRIMARY KEY, label text) WITH COMPACT STORAGE",),
        remark="Table compact was made by something else",
    ),
    Drift(
        "A table whose id does not follow from its name",
        "other_id",
        None,
        shelf(),
        (),
        "nothing",
        by_hand=("CREATE TABLE {table} (aisle text, level int, label text, PRIMARY KEY (aisle, level))",),
        remark="Table other_id was made by something else",
    ),
)

SIMPLE = "CREATE KEYSPACE {keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
NETWORK = "CREATE KEYSPACE {keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': %s}"

MADE_ANYWAY = "makes its tables in it"

KEYSPACE_DRIFTS: tuple[KeyspaceDrift, ...] = (
    KeyspaceDrift(
        "The keyspace is missing",
        "missing",
        "",
        (
            Planned(
                SAFE,
                (
                    "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {'class': "
                    "'NetworkTopologyStrategy', 'dc1': '1'}  AND durable_writes = true"
                ),
            ),
        ),
        "raises `CQLEngineException`",
    ),
    KeyspaceDrift(
        "SimpleStrategy, on one rack",
        "simple",
        SIMPLE,
        (
            Planned(
                SAFE, ("ALTER KEYSPACE {keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '1'}")
            ),
        ),
        MADE_ANYWAY,
    ),
    KeyspaceDrift(
        "`durable_writes` is false",
        "not_durable",
        f"{NETWORK % 1} AND durable_writes = false",
        (Planned(SAFE, "ALTER KEYSPACE {keyspace} WITH durable_writes = true"),),
        MADE_ANYWAY,
    ),
    KeyspaceDrift(
        "One copy more than the settings say",
        "too_many",
        NETWORK % 2,
        (
            Planned(
                SLOW,
                ("ALTER KEYSPACE {keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '1'}"),
                "replicas:{keyspace}",
                "`nodetool repair -full {keyspace}` on every node, then `nodetool cleanup`",
            ),
        ),
        MADE_ANYWAY,
    ),
    KeyspaceDrift(
        "More copies wanted than a quorum can reach",
        "unreachable",
        NETWORK % 1,
        (
            Planned(
                REFUSED, why="there are 1, CASSANDRA_REPLICATION_FACTOR is 9: a quorum of 5 copies can't be reached"
            ),
        ),
        MADE_ANYWAY,
        replicas=9,
    ),
    KeyspaceDrift(
        "A data centre wanted that has no node",
        "elsewhere",
        NETWORK % 1,
        (Planned(REFUSED, why="no node is in dc9 (CASSANDRA_DATACENTER); nodes are in dc1"),),
        MADE_ANYWAY,
        datacenter="dc9",
    ),
)


def describe_as_markdown() -> str:
    """Return the page of all drifts, as it stands in `docs/reference/schema-drift.md`."""
    tables = [_write_row(one.title, one.table, one.planned, one.plain, one.remark) for one in DRIFTS]
    unmade = [f"| {' | '.join(cells)} |" for cells in _NOT_MADE]
    keyspaces = [_write_row(one.title, one.name, one.planned, one.plain) for one in KEYSPACE_DRIFTS]
    return "\n".join([_INTRODUCTION, *tables, _KEYSPACES, *keyspaces, _UNMADE, *unmade, _REST])


def _write_row(title: str, name: str, planned: tuple[Planned, ...], plain: str, remark: str = "") -> str:
    told = [_write_step(one) for one in planned] + ([f"Note: {remark} …"] if remark else [])
    done = list(dict.fromkeys(_write_sync(one) for one in planned)) or ["does nothing"]
    cells = (title, "<br>".join(told), "<br>".join(done), plain)
    return "".join(f"| {fill_in(cell, KEYSPACE, name)} " for cell in cells) + "|"


def _write_step(planned: Planned) -> str:
    told = f"`{planned.cql}`" if planned.cql else planned.why
    condition = ", only if allowed" if planned.destroys else ""
    follow_up = f"; afterwards: {planned.follow_up}" if planned.follow_up else ""
    return f"**{planned.safety}**{condition}: {told}{follow_up}"


def _write_sync(planned: Planned) -> str:
    if planned.safety in {MIGRATION, REFUSED}:
        return "refuses, and runs nothing at all"
    return f"runs it with `--allow {planned.destroys}`, else leaves it" if planned.destroys else "runs it"


_INTRODUCTION = """\
# Schema drift

Made by `python tests/drifts.py` from the cases of `tests/drifts.py`; a test makes each of them on a real Cassandra and
holds this page against what happens there.

A keyspace drifts from the Models when a Model changes, when somebody changes a table by hand, and when something else
made it. `store-manager schema plan` sees all that is below, prints the exact CQL of each step in the order in which it
has to run, and says how safe the step is:

| kind | means |
|---|---|
| **safe** | done in a moment: it changes what nodes know, not what they hold |
| **online but slow** | the store goes on, while nodes work on the rows that they hold |
| **needs a migration** | no statement changes this in place: the rows have to move |
| **refused** | Cassandra does not take it; another Model or setting is needed |

A step that destroys something, be it only what somebody has set by hand, is run only if an operator names it by
`--allow`. `store-manager schema check` exits with 1 on any of these differences; with `--despite-leftovers` it does not
mind those that only take away what no Model declares.

Beside each is what cqlengine's own `sync_table` does with the same Model and the same table. *Nothing* means that it
neither changes nor says anything but, for some, a line in a debug log.

## Tables

| drift | `plan` prints | `sync` | plain `sync_table` |
|---|---|---|---|"""

_KEYSPACES = """\

## Keyspaces

| drift | `plan` prints | `sync` | plain `sync_table` |
|---|---|---|---|"""

_UNMADE = """\

On three nodes one copy becomes three by way of two, every row repaired between: a test finds all of them at a quorum
after each step. What else can happen was measured once, with 300 rows, three times each:

| from one copy to three | rows that a quorum did not find |
|---|---|
| by way of two, every row repaired between | 0, 0, 0 |
| by way of two, nothing repaired | 0, 97, 63 |
| at once | 50, 0, 102 |

Cassandra does not tell whether a repair is over, so each of these steps is run only if it is named.

## What is seen, but not made by the test

The test's Cassandra has one rack and one data centre, and materialized views and functions are off in Cassandra 4.1
unless a cluster allows them. What the plan makes of the following is held by unit tests:

| drift | `plan` prints | `sync` |
|---|---|---|"""

_NOT_MADE = (
    (
        "A materialized view",
        "**safe**, only if allowed: `DROP MATERIALIZED VIEW IF EXISTS …`, before what it hangs on",
        "runs it with `--allow view:…`, else leaves it",
    ),
    (
        "SimpleStrategy, and rows would get other replicas",
        "**online but slow**, only if allowed: `ALTER KEYSPACE …`; afterwards: `nodetool repair -full …` on every node",
        "runs it with `--allow replicas:…`, else leaves it",
    ),
    (
        "The keyspace is not in the data centre of the settings",
        "**online but slow**, only if allowed: `ALTER KEYSPACE …`; afterwards: `nodetool rebuild` on each node there",
        "runs it with `--allow replicas:…`, else leaves it",
    ),
    ("Copies in another data centre", "a note: they are left as they are", "does nothing"),
    ("Copies where no node is any more", "a note: the next change of replication leaves them out", "does nothing"),
    ("A trigger, a function, an aggregate", "a note", "does nothing"),
    ("Models that contradict each other, or have user types", "an error that names them", "the same error"),
)

_REST = """\

Tables whose names begin with `schema_` belong to these tools themselves, and no plan looks at them.
"""


if __name__ == "__main__":
    sys.stdout.write(describe_as_markdown())
