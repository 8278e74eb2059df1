"""What cqlengine's text becomes: the shape that is prepared, the values in its order, and what may be done with it."""

from __future__ import annotations

import pytest
from cassandra.cqlengine.statements import InQuoter
from cassandra.query import BatchType

from store_manager.database.statements import Batch, Kind, Statement, parse


def parse_one(text: str) -> Statement:
    parsed = parse(text)
    assert isinstance(parsed, Statement)
    return parsed


def test_values_are_bound_in_the_order_of_the_text_not_of_their_names() -> None:
    statement = parse_one('UPDATE ks.t SET "a" = %(1)s, "b" = %(2)s WHERE "id" = %(0)s IF "version" = %(3)s')
    assert statement.shape == 'UPDATE ks.t SET "a" = ?, "b" = ? WHERE "id" = ? IF "version" = ?'
    assert statement.values({"0": "id", "1": "a", "2": None, "3": 7}) == ["a", None, "id", 7]


def test_statements_that_differ_only_in_numbers_share_a_shape() -> None:
    texts = ['SELECT "a" FROM ks.t WHERE "id" = %(0)s LIMIT 5', 'SELECT "a" FROM ks.t WHERE "id" = %(8)s LIMIT 600']
    first, second = (parse_one(text) for text in texts)
    assert first.shape == second.shape == 'SELECT "a" FROM ks.t WHERE "id" = ? LIMIT ?'
    assert first.values({"0": "x"}) == ["x", 5]
    assert second.values({"8": "y"}) == ["y", 600]


def test_ttl_and_timestamp_are_values_too() -> None:
    statement = parse_one('INSERT INTO ks.t ("id") VALUES (%(0)s) USING TTL 60 AND TIMESTAMP 1700000000000000')
    assert statement.shape == 'INSERT INTO ks.t ("id") VALUES (?) USING TTL ? AND TIMESTAMP ?'
    assert statement.values({"0": "x"}) == ["x", 60, 1700000000000000]


def test_the_list_of_an_in_is_one_value() -> None:
    statement = parse_one('SELECT "a" FROM ks.t WHERE "id" IN %(0)s')
    assert statement.shape == 'SELECT "a" FROM ks.t WHERE "id" IN ?'
    assert statement.values({"0": InQuoter([1, 2, 3])}) == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "kind", "idempotent"),
    [
        ('SELECT "a" FROM ks.t WHERE "id" = %(0)s', Kind.READ, True),
        ('INSERT INTO ks.t ("id") VALUES (%(0)s)', Kind.WRITE, True),
        ('INSERT INTO ks.t ("id") VALUES (%(0)s) IF NOT EXISTS', Kind.CONDITIONAL, False),
        ('UPDATE ks.t SET "a" = %(1)s WHERE "id" = %(0)s', Kind.WRITE, True),
        ('UPDATE ks.t SET "a" = %(1)s WHERE "id" = %(0)s IF "a" = %(2)s', Kind.CONDITIONAL, False),
        ('UPDATE ks.t SET "a" = %(1)s WHERE "id" = %(0)s IF EXISTS', Kind.CONDITIONAL, False),
        ('UPDATE ks.t SET "map"[%(1)s] = %(2)s WHERE "id" = %(0)s', Kind.WRITE, True),
        ('UPDATE ks.t SET "list" = "list" + %(1)s WHERE "id" = %(0)s', Kind.WRITE, False),
        ('UPDATE ks.t SET "list" = %(1)s + "list" WHERE "id" = %(0)s', Kind.WRITE, False),
        ('UPDATE ks.t SET "counter" = "counter" - %(1)s WHERE "id" = %(0)s', Kind.WRITE, False),
        ('UPDATE ks.t SET "a" = now() WHERE "id" = %(0)s', Kind.WRITE, False),
        ('DELETE FROM ks.t WHERE "id" = %(0)s AND "n" <= %(1)s', Kind.WRITE, True),
        ('DELETE FROM ks.t WHERE "id" = %(0)s IF "version" = %(1)s', Kind.CONDITIONAL, False),
    ],
)
def test_only_what_does_the_same_twice_is_idempotent(text: str, kind: Kind, idempotent: bool) -> None:  # noqa: FBT001
    statement = parse_one(text)
    assert (statement.kind, statement.idempotent) == (kind, idempotent)


def test_a_column_whose_name_contains_if_makes_no_condition() -> None:
    assert parse_one('UPDATE ks.t SET "IF" = %(1)s, "gift" = %(2)s WHERE "id" = %(0)s').kind is Kind.WRITE


@pytest.mark.parametrize(
    "text",
    ["CREATE TABLE ks.t (id uuid PRIMARY KEY)", "ALTER TABLE ks.t ADD a int", "DROP KEYSPACE ks", "TRUNCATE ks.t"],
)
def test_ddl_is_not_prepared(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("opener", "batch_type"),
    [
        ("BEGIN  BATCH", BatchType.LOGGED),
        ("BEGIN UNLOGGED  BATCH", BatchType.UNLOGGED),
        ("BEGIN COUNTER  BATCH", BatchType.COUNTER),
    ],
)
def test_a_batch_is_its_statements(opener: str, batch_type: BatchType) -> None:
    update = 'UPDATE ks.t SET "a" = %(1)s WHERE "id" = %(0)s'
    insert = 'INSERT INTO ks.t ("id") VALUES (%(2)s)'
    batch = parse(f"{opener}\n  {update}\n  {insert}\nAPPLY BATCH;")
    assert isinstance(batch, Batch)
    assert batch.batch_type is batch_type
    assert [child.shape for child in batch.statements] == [
        'UPDATE ks.t SET "a" = ? WHERE "id" = ?',
        'INSERT INTO ks.t ("id") VALUES (?)',
    ]
    assert [child.values({"0": "p", "1": "q", "2": "r"}) for child in batch.statements] == [["q", "p"], ["r"]]
    assert (batch.kind, batch.idempotent) == (Kind.WRITE, True)


def test_one_condition_makes_the_whole_batch_conditional() -> None:
    plain, conditional = 'INSERT INTO ks.t ("id") VALUES (%(0)s)', 'DELETE FROM ks.t WHERE "id" = %(1)s IF EXISTS'
    batch = parse(f"BEGIN  BATCH\n  {plain}\n  {conditional}\nAPPLY BATCH;")
    assert isinstance(batch, Batch)
    assert (batch.kind, batch.idempotent) == (Kind.CONDITIONAL, False)


def test_a_batch_with_a_timestamp_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="timestamp"):
        parse('BEGIN  BATCH USING TIMESTAMP 5\n  INSERT INTO ks.t ("id") VALUES (%(0)s)\nAPPLY BATCH;')
