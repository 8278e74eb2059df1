"""The plan: which statements would bring a keyspace in line with the Models, in order, and why.

Nothing here changes the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store_manager.models import MODELS
from store_manager.schema.comparisons import (
    change_table,
    create_table,
    remark_on_code,
    remark_on_table,
    remove_leftovers,
)
from store_manager.schema.keyspaces import find_keyspace
from store_manager.schema.notes import note_keyspace
from store_manager.schema.replications import compare_replication
from store_manager.schema.steps import Plan, Step
from store_manager.schema.tables import declare

if TYPE_CHECKING:
    from store_manager.database.connections import Database
    from store_manager.models import StoreModel
    from store_manager.schema.keyspaces import Findings
    from store_manager.schema.tables import Table
    from store_manager.settings import Settings


def plan(database: Database, settings: Settings, models: tuple[type[StoreModel], ...] = MODELS) -> Plan:
    """Return the steps that bring the keyspace of the settings in line with the Models; none if it already is.

    What the Models add or set comes first, what they no longer declare last. Raises SchemaRefused if the Models
    contradict each other, SchemaDisagreement if the nodes don't agree on what there is, DatabaseUnavailable if they
    don't answer.
    """
    return compare(settings, declare(models), find_keyspace(database, settings.cassandra_keyspace))


def compare(settings: Settings, tables: tuple[Table, ...], findings: Findings) -> Plan:
    """Return the steps between what was found and what is declared."""
    name, keyspace = settings.cassandra_keyspace, findings.keyspace
    if keyspace is None:
        steps = [step for table in tables for step in create_table(name, table, findings.options)]
        return Plan((_create_keyspace(settings), *steps))
    steps, remarks = compare_replication(keyspace.metadata, settings, findings.ring)
    for table in tables:
        existing = keyspace.tables.get(table.name)
        if existing is None:
            steps += create_table(name, table, findings.options)
        else:
            steps += change_table(name, table, existing, findings.options)
            remarks += remark_on_table(name, table, existing)
    remarks += remark_on_code(keyspace)
    return Plan((*steps, *remove_leftovers(keyspace, tables)), tuple(remarks))


def _create_keyspace(settings: Settings) -> Step:
    keyspace = settings.cassandra_keyspace
    cql = note_keyspace(keyspace, {settings.cassandra_datacenter: settings.cassandra_replication_factor})
    return Step(f"create keyspace {keyspace}", cql, "there is none of this name")
