"""How the Models' rows become statements: one statement for each call, one shape for any values.

cqlengine leaves nulls out of an INSERT and sends a second, unconditional statement for them; here a null is a value
like any other. What a statement's text becomes on its way out is `store_manager.database.statements`.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, cast

from cassandra.cqlengine import ValidationError, columns
from cassandra.cqlengine.query import DMLQuery, ModelQuerySet
from cassandra.cqlengine.statements import AssignmentClause, InsertStatement, UpdateStatement
from cassandra.query import UNSET_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoreQuerySet(ModelQuerySet):
    """A queryset that names every column it reads, and updates by one statement that keeps its conditions.

    It has no limit unless one is set: cqlengine's own, of 10,000 rows, would truncate without a word.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._limit = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> StoreQuerySet:
        """Return a queryset to go on with; each call in a chain makes one, so it copies no more than it must.

        Clauses are numbered anew by the statement that they become a part of, so they are copied; their values are
        not, which was a third of the time that a batch of many rows took to build.
        """
        clone = copy(self)
        for name in ("_result_cache", "_result_idx", "_result_generator", "_construct_result"):
            setattr(clone, name, None)
        for name in ("_order", "_only_fields", "_defer_fields", "_deferred_values"):
            setattr(clone, name, copy(getattr(self, name)))
        clone._where = [_copy_clause(clause) for clause in self._where]
        clone._conditional = [copy(clause) for clause in self._conditional]
        return clone

    def _select_fields(self) -> list[str]:
        # `SELECT *` would read columns of other Models that share the table, and later ones of a newer schema.
        named = super()._select_fields()
        return cast("list[str]", named or [column.db_field_name for column in self.model._columns.values()])

    def first(self) -> Any:
        """Return the first row or None; asks for one row only."""
        return next(iter(self if self._result_cache is not None else self.limit(1)), None)

    def update(self, **values: Any) -> None:
        """Send one UPDATE of all `values`, None included, under the queryset's conditions.

        A collection that is named plainly is replaced as a whole; `name__update`, `__add` and the like change parts.
        """
        statement = UpdateStatement(
            self.column_family_name,
            where=self._where,
            ttl=self._ttl,
            timestamp=self._timestamp,
            conditionals=self._conditional,
            if_exists=self._if_exists,
        )
        for name, value in values.items():
            self._assign(statement, name, value)
        if statement.assignments:
            self._execute(statement)

    def _assign(self, statement: Any, name: str, value: Any) -> None:
        column_name, operation = self._parse_filter_arg(name)
        column = self.model._columns.get(column_name)
        if column is None or column.is_primary_key:
            raise ValidationError(f"{self.model.__name__} has no column {column_name!r} that can be updated")
        if operation == "remove" and isinstance(column, columns.Map):
            statement.add_update(column, dict.fromkeys(value), operation=operation)
        elif operation is not None:
            statement.add_update(column, column.validate(value), operation=operation)
        else:
            _add_assignment(statement, column, column.validate(value))


class StoreDMLQuery(DMLQuery):
    """Saves an instance by one INSERT of every column, or changes a saved one by one UPDATE of what changed."""

    def save(self) -> None:
        """Insert a new instance, update one that was read or saved before.

        The INSERT names each of the Model's columns whatever is null, so that there is one shape; a null is bound as
        UNSET, which writes no tombstone and leaves a value that is already stored. Static columns are named only if
        one of them has a value, all others only if the row has a clustering key.
        """
        if self.instance._can_update():
            self.update()
            return
        statement = InsertStatement(
            self.column_family_name, ttl=self._ttl, timestamp=self._timestamp, if_not_exists=self._if_not_exists
        )
        for name, column in self._inserted_columns():
            value = getattr(self.instance, name)
            _add_assignment(statement, column, UNSET_VALUE if column._val_is_null(value) else value)
        self._execute(statement)

    def update(self) -> None:
        """Send one UPDATE of the columns that changed, None included, under the instance's conditions."""
        changed = {
            name: getattr(self.instance, name)
            for name, column in self.model._columns.items()
            if not column.is_primary_key and self.instance._values[name].changed
        }
        static_only = all(self.model._columns[name].static for name in changed)
        keys = self.model._partition_keys if static_only else self.model._primary_keys
        queryset = self.model.objects.filter(**{name: getattr(self.instance, name) for name in keys})
        for attribute in ("_batch", "_ttl", "_timestamp", "_consistency", "_timeout", "_if_exists"):
            setattr(queryset, attribute, getattr(self, attribute))
        queryset._conditional = self._conditional or []
        queryset.update(**changed)

    def _inserted_columns(self) -> Iterator[tuple[str, Any]]:
        instance = self.instance
        null = {name for name, column in instance._columns.items() if column._val_is_null(getattr(instance, name))}
        clustering = instance._clustering_keys
        static_only = bool(clustering) and all(name in null for name in clustering)
        any_static = any(column.static and name not in null for name, column in instance._columns.items())
        for name, column in instance._columns.items():
            if column.partition_key or (any_static if column.static else not static_only):
                yield name, column


def _copy_clause(clause: Any) -> Any:
    copied = copy(clause)
    copied.query_value = copy(clause.query_value)
    return copied


def _add_assignment(statement: Any, column: Any, value: Any) -> None:
    stored = value if value is None or value is UNSET_VALUE else column.to_database(value)
    statement._add_assignment_clause(AssignmentClause(column.db_field_name, stored))
