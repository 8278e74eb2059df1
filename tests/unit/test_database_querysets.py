"""What the Models' calls are in CQL: one statement for each, one shape for any values."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra.cqlengine import ValidationError, columns, models
from cassandra.cqlengine.query import BatchQuery
from cassandra.query import UNSET_VALUE

from store_manager.database.statements import Batch, Statement, parse
from store_manager.models.base import StoreModel
from store_manager.models.orders import OrderRow
from store_manager.models.stocks import Stock, StockMovement

NIL = UUID(int=0)


class Shelf(StoreModel):
    """A Model with one column of each sort that matters here."""

    __table_name__ = "shelves"

    shelf_id = columns.UUID(partition_key=True)
    place = columns.Integer(primary_key=True)
    owner = columns.Text(static=True)
    opened = columns.Map(columns.Text(), columns.DateTime(), static=True)
    name = columns.Text()
    tags = columns.Map(columns.Text(), columns.DateTime())


@pytest.fixture(autouse=True)
def _keyspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "DEFAULT_KEYSPACE", "ks")


class Recorder(BatchQuery):  # type: ignore[misc]
    """A batch that is never sent: it shows what would be."""

    def sent(self) -> list[tuple[str, list[Any]]]:
        result = []
        for query in self.queries:
            query.update_context_id(0)
            parsed = parse(str(query))
            assert isinstance(parsed, Statement)
            assert not isinstance(parsed, Batch)
            result.append((parsed.shape, parsed.values(query.get_context())))
        return result


def test_a_read_names_each_column_of_the_model_and_has_no_hidden_limit() -> None:
    assert str(Stock.objects(product_id__in=[NIL])) == (
        'SELECT "product_id", "kind", "sequence", "operation_id", "on_hand", "reserved", "version", "updated_at", '
        f'{named_after("updated_at", Stock)} FROM ks.stocks WHERE "product_id" IN %(0)s'
    )


def named_after(name: str, model: type[StoreModel]) -> str:
    names = list(model._columns)
    return ", ".join(f'"{one}"' for one in names[names.index(name) + 1 :])


def test_the_first_row_is_the_only_one_that_is_asked_for() -> None:
    asked: list[str] = []

    class Watching(type(Shelf.objects)):  # type: ignore[misc]
        def _execute(self, statement: Any) -> list[Any]:
            asked.append(str(statement))
            return []

    assert Watching(Shelf).filter(shelf_id=NIL).first() is None
    assert asked[0].endswith("LIMIT 1")


@pytest.mark.parametrize("values", [{}, {"name": "top"}, {"name": None}, {"name": "", "tags": {}}])
def test_an_insert_has_one_shape_whatever_is_null(values: dict[str, Any]) -> None:
    batch = Recorder()
    Shelf.batch(batch).create(shelf_id=NIL, place=1, **values)
    [(shape, bound)] = batch.sent()
    assert shape == 'INSERT INTO ks.shelves ("shelf_id", "place", "name", "tags") VALUES (?, ?, ?, ?)'
    assert bound == [NIL, 1, UNSET_VALUE if values.get("name") is None else values["name"], UNSET_VALUE]


def test_an_insert_names_all_static_columns_as_soon_as_one_has_a_value() -> None:
    batch = Recorder()
    Shelf.batch(batch).create(shelf_id=NIL, place=1, owner="me")
    [(shape, bound)] = batch.sent()
    assert '("shelf_id", "place", "owner", "opened", "name", "tags")' in shape
    assert bound == [NIL, 1, "me", *[UNSET_VALUE] * 3]


def test_an_insert_without_a_clustering_key_names_the_static_columns_only() -> None:
    batch = Recorder()
    Shelf.batch(batch).create(shelf_id=NIL, owner="me")
    [(shape, _)] = batch.sent()
    assert '("shelf_id", "owner", "opened")' in shape


def test_an_order_of_any_length_has_two_insert_shapes() -> None:
    batch = Recorder()
    OrderRow.batch(batch).if_not_exists().create(order_id=NIL, line=0, user_id=NIL, version=1, product_id=NIL)
    for line in range(1, 20):
        OrderRow.batch(batch).create(order_id=NIL, line=line, product_id=NIL, quantity=line)
    first, *others = [shape for shape, _ in batch.sent()]
    assert first.endswith("IF NOT EXISTS")
    [other] = set(others)
    assert other == (
        'INSERT INTO ks.orders ("order_id", "line", "product_id", "sku", "name", "quantity", "unit_price", "total") '
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )


def test_models_that_share_a_table_name_their_own_columns_only() -> None:
    batch = Recorder()
    StockMovement.batch(batch).create(product_id=NIL, kind=2, sequence=1, operation_id=NIL, delta=1)
    [(shape, _)] = batch.sent()
    assert "INSERT INTO ks.stocks" in shape
    assert '"delta"' in shape
    assert '"on_hand"' not in shape


def test_an_update_is_one_statement_that_keeps_its_condition_when_a_value_is_none() -> None:
    batch = Recorder()
    Stock.objects(product_id=NIL, kind=0, sequence=0, operation_id=NIL).iff(version=7).batch(batch).update(
        on_hand=3, drained=None, version=8
    )
    [(shape, bound)] = batch.sent()
    assert shape == (
        'UPDATE ks.stocks SET "on_hand" = ?, "drained" = ?, "version" = ? WHERE "product_id" = ? AND "kind" = ? '
        'AND "sequence" = ? AND "operation_id" = ? IF "version" = ?'
    )
    assert bound == [3, None, 8, NIL, 0, 0, NIL, 7]


def test_static_columns_are_updated_by_the_partition_key_alone() -> None:
    batch, at = Recorder(), datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - cqlengine's times are naive UTC
    OrderRow.objects(order_id=NIL).iff(version=1).batch(batch).update(status="PAID", reached__update={"PAID": at})
    [(shape, bound)] = batch.sent()
    assert shape == 'UPDATE ks.orders SET "status" = ?, "reached"[?] = ? WHERE "order_id" = ? IF "version" = ?'
    assert bound[:2] == ["PAID", "PAID"]
    assert bound[3:] == [NIL, 1]


def test_a_map_that_is_named_plainly_is_replaced_as_a_whole() -> None:
    batch = Recorder()
    Shelf.objects(shelf_id=NIL, place=1).batch(batch).update(tags={})
    Shelf.objects(shelf_id=NIL, place=1).batch(batch).update(tags__remove={"old"})
    assert [shape for shape, _ in batch.sent()] == [
        'UPDATE ks.shelves SET "tags" = ? WHERE "shelf_id" = ? AND "place" = ?',
        'UPDATE ks.shelves SET "tags" = "tags" - ? WHERE "shelf_id" = ? AND "place" = ?',
    ]
    assert [bound[0] for _, bound in batch.sent()] == [{}, {"old"}]


@pytest.mark.parametrize("name", ["place", "shelf_id", "price", "price__update"])
def test_a_key_or_an_unknown_column_can_not_be_updated(name: str) -> None:
    with pytest.raises(ValidationError, match=name.partition("__")[0]):
        Shelf.objects(shelf_id=NIL, place=1).batch(Recorder()).update(**{name: 1})


def test_an_update_of_nothing_sends_nothing() -> None:
    batch = Recorder()
    Shelf.objects(shelf_id=NIL, place=1).batch(batch).update()
    assert batch.sent() == []


def make_saved(**values: Any) -> Shelf:
    shelf = Shelf(shelf_id=NIL, place=1, **values)
    shelf._set_persisted(force=True)
    return shelf


def test_a_saved_instance_is_updated_by_one_statement_of_what_changed() -> None:
    batch, shelf = Recorder(), make_saved(name="top", tags={"a": datetime(2026, 1, 1)})  # noqa: DTZ001
    shelf.name, shelf.tags = None, {}
    shelf.batch(batch).iff(name="top").save()
    [(shape, bound)] = batch.sent()
    assert shape == ('UPDATE ks.shelves SET "name" = ?, "tags" = ? WHERE "shelf_id" = ? AND "place" = ? IF "name" = ?')
    assert bound == [None, {}, NIL, 1, "top"]


def test_a_change_of_static_columns_only_names_no_row() -> None:
    batch, shelf = Recorder(), make_saved(owner="me")
    shelf.batch(batch).update(owner="you")
    [(shape, _)] = batch.sent()
    assert shape == 'UPDATE ks.shelves SET "owner" = ? WHERE "shelf_id" = ?'


def test_saving_what_did_not_change_sends_nothing() -> None:
    batch, shelf = Recorder(), make_saved(name="top")
    shelf.batch(batch).save()
    assert batch.sent() == []


def test_a_collection_that_was_changed_in_place_is_saved() -> None:
    batch, shelf = Recorder(), make_saved(tags={"a": datetime(2026, 1, 1)})  # noqa: DTZ001
    shelf.tags["b"] = datetime(2026, 1, 2)  # noqa: DTZ001
    shelf.batch(batch).save()
    [(_, bound)] = batch.sent()
    assert list(bound[0]) == ["a", "b"]


def test_an_instance_is_deleted_by_its_whole_key() -> None:
    batch = Recorder()
    make_saved(name="top").batch(batch).delete()
    [(shape, bound)] = batch.sent()
    assert shape == 'DELETE FROM ks.shelves WHERE "shelf_id" = ? AND "place" = ?'
    assert bound == [NIL, 1]


def test_a_range_of_rows_is_deleted_by_one_statement() -> None:
    batch, product_id = Recorder(), uuid4()
    StockMovement.objects(product_id=product_id, kind=2, sequence__lte=5).batch(batch).delete()
    [(shape, bound)] = batch.sent()
    assert shape == 'DELETE FROM ks.stocks WHERE "product_id" = ? AND "kind" = ? AND "sequence" <= ?'
    assert bound == [product_id, 2, 5]


def test_querysets_that_go_on_from_one_another_share_nothing_that_changes() -> None:
    here, there = uuid4(), uuid4()
    shelf = Shelf.objects(shelf_id=here)
    first, second = shelf.filter(place=1), shelf.filter(place=2).order_by("-place").limit(5)

    with Recorder() as batch:
        first.iff(name="a").batch(batch).update(name="b")
        second.batch(batch).update(name="c")
        Shelf.objects(shelf_id=there).filter(place=1).iff(name="d").batch(batch).update(name="e")
        sent = batch.sent()
        batch.queries.clear()

    assert [values for _, values in sent] == [["b", here, 1, "a"], ["c", here, 2], ["e", there, 1, "d"]]
    assert str(shelf).endswith('WHERE "shelf_id" = %(0)s')
    assert "ORDER BY" in str(second)
    assert "ORDER BY" not in str(first)
