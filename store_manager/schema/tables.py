"""Tables as the Models declare them and as the cluster has them, and where the two contradict each other.

Nothing here talks to the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid5

from cassandra.cqlengine.columns import resolve_udts

from store_manager.schema.faults import SchemaRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from store_manager.models import StoreModel

TABLE_IDS = UUID("5d0f7a52-6c1e-4f7b-9d43-0a8c2b9e61f4")
"""The namespace of all tables' ids; another one would give every table another id."""


def identify(keyspace: str, table: str) -> UUID:
    """Return the id that this table is created with, the same for everybody.

    Several first-comers that create the table at once thus create one table; with ids of the nodes' choice it could
    get two, and lose rows. The price is that an id must never live twice. When a keyspace was dropped and made again
    under its old name while a node was away, that node brought the old rows back: 300 of 300, plain and conditional
    writes alike, against 0 of 300 under another name. So the name of a keyspace is used once in a cluster's life.
    """
    return uuid5(TABLE_IDS, f"{keyspace}.{table}")


@dataclass(frozen=True)
class Column:
    """A column as CQL sees it: its type, and its role, which says its place in the key and its order."""

    type: str
    role: str

    @property
    def is_key(self) -> bool:
        """Whether it belongs to the primary key."""
        return "key" in self.role

    @property
    def place(self) -> str:
        """Its place in the key, whatever its order; for all other columns, that they are not in it."""
        return self.role.partition(",")[0] if self.is_key else "no key"

    @property
    def is_static(self) -> bool:
        """Whether its partition has one value of it."""
        return self.role == "static"

    @property
    def is_counter(self) -> bool:
        """Whether it counts."""
        return self.type == "counter"

    def __str__(self) -> str:
        """Say it to people."""
        return f"{self.type} ({self.role})"


Shape: TypeAlias = dict[str, Column]
"""The columns of a table, by name."""


@dataclass(frozen=True)
class Table:
    """A table that one or more Models declare: `model` has the columns of all of them."""

    name: str
    model: type[StoreModel]
    owners: tuple[type[StoreModel], ...]
    shape: Shape

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that its Models declare."""
        return self.model.__options__ or {}

    @property
    def indexed(self) -> tuple[str, ...]:
        """The columns on which its Models declare an index."""
        found = [column.db_field_name for column in self.model._columns.values() if column.index]  # noqa: SLF001
        return tuple(found)

    def owner_of(self, column: str) -> str:
        """Return the name of the first Model that declares the column."""
        return next(owner.__name__ for owner in self.owners if column in shape_of_model(owner))


@lru_cache(maxsize=8)
def declare(models: tuple[type[StoreModel], ...]) -> tuple[Table, ...]:
    """Return the tables that the Models declare, each once, in the order of the Models.

    Raises SchemaRefused if Models that share a table contradict each other, or have columns of user types.
    """
    owners: dict[str, list[type[StoreModel]]] = {}
    for model in models:
        owners.setdefault(model._raw_column_family_name(), []).append(model)  # noqa: SLF001 - without quotes
    return tuple(_unite(name, sharing) for name, sharing in owners.items())


def shape_of_model(model: type[StoreModel]) -> Shape:
    """Return the columns that a Model declares."""
    # cqlengine has no public way to a Model's columns.
    parts = [column.db_field_name for column in model._partition_keys.values()]  # noqa: SLF001
    clustering = [column.db_field_name for column in model._clustering_keys.values()]  # noqa: SLF001
    shape = {}
    for column in model._columns.values():  # noqa: SLF001
        descending = (column.clustering_order or "ASC").upper() == "DESC"
        role = _find_role(column.db_field_name, parts, clustering, descending=descending, static=column.static)
        shape[column.db_field_name] = Column(column.db_type, role)
    return shape


def shape_of_table(metadata: Any) -> Shape:
    """Return the columns that a table has, from the driver's metadata."""
    parts = [column.name for column in metadata.partition_key]
    clustering = [column.name for column in metadata.clustering_key]
    shape = {}
    for name, column in metadata.columns.items():
        role = _find_role(name, parts, clustering, descending=column.is_reversed, static=column.is_static)
        shape[name] = Column(column.cql_type, role)
    return shape


def _find_role(name: str, parts: list[str], clustering: list[str], *, descending: bool, static: bool) -> str:
    if name in parts:
        return f"partition key {parts.index(name) + 1}"
    if name in clustering:
        return f"clustering key {clustering.index(name) + 1}, {'descending' if descending else 'ascending'}"
    return "static" if static else "plain"


@dataclass(frozen=True)
class Difference:
    """A column that is declared in another way than it is, or is in the key of one side only."""

    name: str
    existing: Column | None
    declared: Column | None

    def __str__(self) -> str:
        """Say it to people."""
        if self.existing is None:
            return f"column {self.name}, declared {self.declared}, is not in the table's key"
        if self.declared is None:
            return f"column {self.name} is {self.existing}, not declared"
        return f"column {self.name} is {self.existing}, declared {self.declared}"


def find_differences(declared: Shape, existing: Shape) -> list[Difference]:
    """Return each difference of keys, types, static or order: what no ALTER changes in place."""
    changed = [
        Difference(name, existing[name], column)
        for name, column in declared.items()
        if name in existing and existing[name] != column
    ]
    added = [
        Difference(name, None, column) for name, column in declared.items() if column.is_key and name not in existing
    ]
    removed = [
        Difference(name, column, None) for name, column in existing.items() if column.is_key and name not in declared
    ]
    return changed + added + removed


def _unite(name: str, sharing: Sequence[type[StoreModel]]) -> Table:
    first, *others = sharing
    for one in sharing:
        _refuse_user_types(one)
    for other in others:
        _refuse_contradictions(name, first, other)
    model = _join(name, sharing) if others else first
    return Table(name, model, tuple(sharing), shape_of_model(model))


def _refuse_user_types(model: type[StoreModel]) -> None:
    """Refuse a Model with types of its own: they are a schema beside the tables, with drift of its own."""
    types: list[Any] = []
    for column in model._columns.values():  # noqa: SLF001 - no public way
        resolve_udts(column, types)
    if types:
        names = ", ".join(sorted({one.type_name() for one in types}))
        raise SchemaRefused(
            f"{model.__name__} has columns of user types ({names}), which a plan can't make: use columns"
        )


def _refuse_contradictions(name: str, first: type[StoreModel], other: type[StoreModel]) -> None:
    found = [str(one) for one in find_differences(shape_of_model(other), shape_of_model(first))]
    if other.__options__ != first.__options__:
        found.append("the options differ")
    if found:
        message = f"{first.__name__} and {other.__name__} contradict each other about table {name}: {'; '.join(found)}"
        raise SchemaRefused(message, differences=found)


def _join(name: str, sharing: Sequence[type[StoreModel]]) -> type[StoreModel]:
    # A class can't inherit from another one and, before it, from that one's own base.
    bases = tuple(model for model in sharing if [other for other in sharing if issubclass(other, model)] == [model])
    return type(name, bases, {"__table_name__": name, "__options__": sharing[0].__options__})
