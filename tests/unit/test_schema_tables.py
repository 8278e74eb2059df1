"""What the Models declare, where they contradict each other or a table, and what cqlengine says about it."""

from __future__ import annotations

from uuid import UUID

import pytest
from cassandra.cqlengine import columns
from cassandra.cqlengine.usertype import UserType
from cassandra.metadata import ColumnMetadata, TableMetadataV3

from store_manager.models import MODELS
from store_manager.models.base import TABLE_OPTIONS, StoreModel
from store_manager.schema.faults import SchemaRefused
from store_manager.schema.notes import note_keyspace, note_table
from store_manager.schema.tables import declare, find_differences, identify, shape_of_model, shape_of_table


class Shelf(StoreModel):
    __table_name__ = "shelves"

    aisle = columns.Text(partition_key=True)
    row = columns.Integer(partition_key=True)
    level = columns.Integer(primary_key=True, clustering_order="DESC")
    keeper = columns.Text(static=True)
    label = columns.Text()


class ShelfLight(StoreModel):
    __table_name__ = "shelves"

    aisle = columns.Text(partition_key=True)
    row = columns.Integer(partition_key=True)
    level = columns.Integer(primary_key=True, clustering_order="DESC")
    lamp = columns.UUID()


class CommentedShelf(Shelf):
    __table_name__ = "shelves"
    __options__ = {"comment": "a = {b"}  # noqa: RUF012 - cqlengine's own form


class IndexedShelf(StoreModel):
    __table_name__ = "indexed_shelves"

    aisle = columns.Text(partition_key=True)
    label = columns.Text(index=True)


def shelf_table(**changed: ColumnMetadata) -> TableMetadataV3:
    """The table of `Shelf` as the driver describes it, with some columns changed."""
    table = TableMetadataV3("store", "shelves", options=dict(TABLE_OPTIONS))
    parts = {name: ColumnMetadata(table, name, kind) for name, kind in (("aisle", "text"), ("row", "int"))}
    clustering = {"level": changed.get("level", ColumnMetadata(table, "level", "int", is_reversed=True))}
    plain = {
        "keeper": ColumnMetadata(table, "keeper", "text", is_static=True),
        "label": ColumnMetadata(table, "label", "text"),
    }
    table.partition_key, table.clustering_key = list(parts.values()), list(clustering.values())
    table.columns = parts | clustering | plain | changed
    return table


def differences(table: TableMetadataV3) -> list[str]:
    return [str(one) for one in find_differences(shape_of_model(Shelf), shape_of_table(table))]


def test_models_that_share_a_table_are_one_table_with_the_columns_of_all() -> None:
    (table,) = declare((Shelf, ShelfLight))
    assert list(table.shape) == ["aisle", "row", "level", "keeper", "label", "lamp"]
    assert [table.owner_of(name) for name in ("aisle", "label", "lamp")] == ["Shelf", "Shelf", "ShelfLight"]


def test_a_model_may_share_a_table_with_its_own_base() -> None:
    class WideShelf(Shelf):
        __table_name__ = "shelves"
        width = columns.Integer()

    (table,) = declare((Shelf, WideShelf))
    assert list(table.shape) == [*shape_of_model(Shelf), "width"]


def test_every_table_of_the_store_is_declared_once() -> None:
    names = [table.name for table in declare(MODELS)]
    assert sorted(names) == sorted({model.column_family_name(include_keyspace=False) for model in MODELS})
    assert len(names) < len(MODELS)


def test_models_that_contradict_each_other_about_a_type_are_refused() -> None:
    class Other(StoreModel):
        __table_name__ = "shelves"
        aisle = columns.Text(partition_key=True)
        row = columns.Integer(partition_key=True)
        level = columns.Integer(primary_key=True, clustering_order="DESC")
        label = columns.Integer()

    with pytest.raises(SchemaRefused, match=r"Shelf and Other .* shelves: column label is text .*declared int"):
        declare((Shelf, Other))


def test_models_that_contradict_each_other_about_the_key_are_refused() -> None:
    class Other(StoreModel):
        __table_name__ = "shelves"
        aisle = columns.Text(partition_key=True)
        row = columns.Integer(primary_key=True)

    with pytest.raises(SchemaRefused, match=r"column row .*partition key 2.*column level .*clustering key 1"):
        declare((Shelf, Other))


def test_models_that_contradict_each_other_about_options_are_refused() -> None:
    class Other(ShelfLight):
        __table_name__ = "shelves"
        __options__ = {"gc_grace_seconds": 1}  # noqa: RUF012 - cqlengine's own form

    with pytest.raises(SchemaRefused, match="the options differ"):
        declare((Shelf, Other))


def test_a_model_with_a_user_type_is_refused() -> None:
    class Size(UserType):  # type: ignore[misc]  # cqlengine has no types
        width = columns.Integer()

    class SizedShelf(StoreModel):
        __table_name__ = "sized_shelves"
        aisle = columns.Text(partition_key=True)
        sizes = columns.List(columns.UserDefinedType(Size))

    with pytest.raises(SchemaRefused, match=r"SizedShelf has columns of user types \(size\)"):
        declare((SizedShelf,))


def test_a_table_as_it_is_declared_contradicts_nothing() -> None:
    assert differences(shelf_table()) == []


def test_columns_that_no_model_declares_or_no_table_has_are_no_contradiction() -> None:
    table = shelf_table(extra=ColumnMetadata(None, "extra", "blob"))
    del table.columns["label"]
    assert differences(table) == []


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (ColumnMetadata(None, "label", "int"), "column label is int (plain), declared text (plain)"),
        (ColumnMetadata(None, "keeper", "text"), "column keeper is text (plain), declared text (static)"),
        (
            ColumnMetadata(None, "level", "int", is_reversed=False),
            "column level is int (clustering key 1, ascending), declared int (clustering key 1, descending)",
        ),
    ],
    ids=["type", "static", "order"],
)
def test_a_difference_that_sync_table_does_not_refuse_is_found(column: ColumnMetadata, said: str) -> None:
    assert differences(shelf_table(**{column.name: column})) == [said]


def test_a_key_column_too_few_and_one_too_many_are_found() -> None:
    table = shelf_table()
    table.partition_key.reverse()
    table.clustering_key[0].name = "depth"
    table.columns["depth"] = table.columns.pop("level")
    assert differences(table) == [
        "column aisle is text (partition key 2), declared text (partition key 1)",
        "column row is int (partition key 1), declared int (partition key 2)",
        "column level, declared int (clustering key 1, descending), is not in the table's key",
        "column depth is int (clustering key 1, descending), not declared",
    ]


def test_a_tables_id_is_the_same_for_everybody_and_for_ever() -> None:
    assert identify("store_manager", "orders") == UUID("20b4fdd1-523d-5bc1-9dd8-8382ab48f79f")
    assert len({identify("a", "b"), identify("a", "c"), identify("b", "b")}) == 3


def test_what_cqlengine_says_can_be_met_twice() -> None:
    assert note_keyspace("store", {"dc1": 3}).startswith("CREATE KEYSPACE IF NOT EXISTS store WITH replication = ")
    assert note_table("store", Shelf, None)[0].startswith('CREATE TABLE IF NOT EXISTS store.shelves ("aisle" text')
    assert note_table("store", IndexedShelf, None)[1] == (
        'CREATE INDEX IF NOT EXISTS ON store.indexed_shelves ("label")'
    )
    table = shelf_table()
    del table.columns["label"]
    assert note_table("store", Shelf, table) == ['ALTER TABLE store.shelves ADD IF NOT EXISTS "label" text']


def test_a_comment_that_cqlengine_cannot_parse_does_no_harm() -> None:
    table = shelf_table()
    table.options["comment"] = "a = {b"
    assert note_table("store", Shelf, table) == []
    assert note_table("store", CommentedShelf, table) == []
