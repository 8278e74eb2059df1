"""cqlengine's statements on a real server: each shape is prepared once, and what is said is what arrives."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from cassandra import ConsistencyLevel
from cassandra.cqlengine import columns, connection
from cassandra.cqlengine.management import drop_table, sync_table
from cassandra.cqlengine.query import BatchQuery, BatchType, LWTException
from cassandra.query import BatchStatement, BoundStatement

from store_manager.database.deadlines import deadline
from store_manager.database.tallies import tally
from store_manager.errors import DatabaseUnavailable, SchemaBehind
from store_manager.models import MODELS
from store_manager.models.base import StoreModel
from store_manager.models.orders import OrderRow
from store_manager.models.stocks import HEAD, MOVEMENT, NO_OPERATION, Stock, StockMovement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.connections import Database

NOON = datetime(2026, 11, 22, 12, 0, 0, 123000)  # noqa: DTZ001 - cqlengine's times are naive UTC


class Specimen(StoreModel):
    """One column of each type that the store's Models use, and one whose name is in mixed case."""

    __table_name__ = "specimens"

    specimen_id = columns.UUID(partition_key=True)
    Shelf = columns.Text(partition_key=True)
    place = columns.SmallInt(primary_key=True)
    owner = columns.Text(static=True)
    reached = columns.Map(columns.Text(), columns.DateTime(), static=True)
    tiny = columns.TinyInt()
    small = columns.SmallInt()
    big = columns.BigInt()
    price = columns.Decimal()
    text = columns.Text()
    MixedCase = columns.Text()
    key = columns.UUID()
    at = columns.DateTime()
    day = columns.Date()
    flag = columns.Boolean()
    times = columns.Map(columns.Text(), columns.DateTime())


class Note(StoreModel):
    """A small row, guarded by a version."""

    __table_name__ = "notes"

    note_id = columns.UUID(partition_key=True)
    place = columns.Integer(primary_key=True)
    text = columns.Text()
    other = columns.Text()
    version = columns.BigInt()


@pytest.fixture(scope="module", autouse=True)
def _tables(database: Database) -> None:
    del database
    sync_table(Specimen)
    sync_table(Note)


class Recorder:
    """What was prepared and sent while it watched."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.sent: list[Any] = []
        self.timeouts: list[float] = []


@pytest.fixture
def recorder(database: Database, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder, prepare, send = Recorder(), database.raw.prepare, database.raw.execute_async

    def note_prepare(shape: str) -> Any:
        recorder.prepared.append(shape)
        return prepare(shape)

    def note_send(query: Any, **options: Any) -> Any:
        recorder.sent.append(query)
        recorder.timeouts.append(options["timeout"])
        return send(query, **options)

    monkeypatch.setattr(database.raw, "prepare", note_prepare)
    monkeypatch.setattr(database.raw, "execute_async", note_send)
    return recorder


def forget_shapes(database: Database) -> None:
    database.session._prepared.clear()


EVERYTHING: dict[str, Any] = {
    "owner": "Zoë",
    "reached": {"PENDING": NOON, "CONFIRMED": NOON + timedelta(milliseconds=1)},
    "tiny": 127,
    "small": 32767,
    "big": 2**63 - 1,
    "price": Decimal("29.90"),
    "text": "Ünïcødé 雪 🖱️ 'quoted' \"twice\" %s %(0)s ; -- \n",
    "MixedCase": "MiXeD",
    "key": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "at": NOON,
    "day": date(2026, 2, 28),
    "flag": True,
    "times": {"é": NOON, "": datetime(1970, 1, 1)},  # noqa: DTZ001
}
EXTREMES: list[dict[str, Any]] = [
    EVERYTHING,
    EVERYTHING | {"tiny": -128, "small": -32768, "big": -(2**63), "flag": False, "day": date(1969, 12, 31)},
    EVERYTHING | {"tiny": 0, "small": 0, "big": 0, "price": Decimal(0), "text": "", "at": datetime(1970, 1, 1)},  # noqa: DTZ001
    EVERYTHING | {"price": Decimal("1000000000.01"), "at": datetime(2199, 12, 31, 23, 59, 59, 999000)},  # noqa: DTZ001
    EVERYTHING | {"price": Decimal("-0.10"), "day": date(9999, 12, 31), "text": "x" * 4000},
    EVERYTHING | {"price": Decimal("1E+3"), "at": datetime(1969, 12, 31, 23, 59, 59, 1000)},  # noqa: DTZ001
    dict.fromkeys(EVERYTHING),
]


def read_back(specimen_id: UUID) -> dict[str, Any]:
    row = Specimen.objects(specimen_id=specimen_id, Shelf="A", place=1).first()
    found = {name: getattr(row, name) for name in EVERYTHING}
    return found | {"day": found["day"].date() if found["day"] else None}


def empty_maps(values: dict[str, Any]) -> dict[str, Any]:
    """Cassandra keeps no empty collection, and cqlengine reads a null one as empty."""
    return values | {name: values[name] or {} for name in ("reached", "times")}


@pytest.mark.parametrize("values", EXTREMES)
@pytest.mark.parametrize("way", ["insert", "update", "conditional insert", "batch", "conditional batch"])
def test_a_value_of_any_type_arrives_unchanged_in_any_way(way: str, values: dict[str, Any]) -> None:
    key: dict[str, Any] = {"specimen_id": uuid4(), "Shelf": "A", "place": 1}
    static = {name: values[name] for name in ("owner", "reached")}
    others = {name: value for name, value in values.items() if name not in static}
    if way == "insert":
        Specimen.create(**key, **values)
    elif way == "update":
        Specimen.create(**key, **EVERYTHING)
        Specimen.objects(**key).update(**values)
    elif way == "conditional insert":
        Specimen.if_not_exists().create(**key, **values)
    elif way == "batch":
        with BatchQuery() as batch:
            Specimen.objects(specimen_id=key["specimen_id"], Shelf="A").batch(batch).update(**static)
            Specimen.batch(batch).create(**key, **others)
    else:
        Specimen.create(**key, **EVERYTHING)
        with BatchQuery() as batch:
            Specimen.objects(**key).iff(MixedCase="MiXeD").batch(batch).update(**others)
            Specimen.objects(specimen_id=key["specimen_id"], Shelf="A").batch(batch).update(**static)
    assert read_back(key["specimen_id"]) == empty_maps(values)
    if values["price"] is not None:
        price = Specimen.objects(**key).first().price
        assert price.as_tuple() == values["price"].as_tuple(), "the scale is kept"


def test_an_unset_column_keeps_its_value_and_writes_no_tombstone(database: Database) -> None:
    key: dict[str, Any] = {"specimen_id": uuid4(), "Shelf": "A", "place": 1}
    Specimen.create(**key, text="kept", tiny=1)
    Specimen.create(**key, tiny=2)
    assert (read_back(key["specimen_id"])["text"], read_back(key["specimen_id"])["tiny"]) == ("kept", 2)
    other = uuid4()
    Specimen.create(specimen_id=other, Shelf="A", place=1)
    names = ", ".join(f'WRITETIME("{name}")' for name in ("text", "big", "price"))
    [row] = connection.execute(
        f'SELECT {names} FROM {database.keyspace}.specimens WHERE "specimen_id" = %(0)s AND "Shelf" = %(1)s',
        {"0": other, "1": "A"},
    )
    assert set(row.values()) == {None}


def test_every_statement_of_the_daos_is_prepared_at_start(database: Database) -> None:
    shapes = " ".join(database.session.shapes)
    for table in {model.__table_name__ for model in MODELS}:
        assert f"{database.keyspace}.{table} " in shapes


def test_each_shape_is_prepared_once_and_reused_for_any_values(database: Database, recorder: Recorder) -> None:
    forget_shapes(database)
    note_id = uuid4()
    for place in range(10):
        Note.create(note_id=note_id, place=place, text=None if place % 2 else "x", version=place)
        Note.objects(note_id=note_id, place=place).update(text=f"text {place}", other=None)
        assert Note.objects(note_id=note_id, place=place).first().text == f"text {place}"
        assert len(list(Note.objects(note_id=note_id).limit(place + 1))) == place + 1
        Note.ttl(60 + place).create(note_id=note_id, place=100 + place, text="x")
        Note.timestamp(timedelta(seconds=place)).create(note_id=note_id, place=200 + place, text="x")
        Note.objects(note_id=note_id, place__lte=-place).delete()
    assert len(recorder.prepared) == len(set(recorder.prepared)) == 7
    assert len(recorder.sent) == 70
    assert all(isinstance(query, BoundStatement) for query in recorder.sent)


def test_the_server_holds_the_shapes_as_they_were_prepared(database: Database) -> None:
    forget_shapes(database)
    Note.objects(note_id=uuid4()).first()
    held = {row["query_string"] for row in database.raw.execute("SELECT query_string FROM system.prepared_statements")}
    assert set(database.session.shapes) <= held


def test_threads_that_need_the_same_new_shape_prepare_it_once(database: Database, recorder: Recorder) -> None:
    forget_shapes(database)
    start, note_id = threading.Barrier(8), uuid4()

    def read() -> None:
        start.wait()
        Note.objects(note_id=note_id).first()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(recorder.prepared), len(recorder.sent)) == (1, 8)


def test_an_in_of_any_length_is_one_shape(database: Database, recorder: Recorder) -> None:
    forget_shapes(database)
    ids = [uuid4() for _ in range(5)]
    for note_id in ids:
        Note.create(note_id=note_id, place=1)
    recorder.prepared.clear()
    for length in range(1, 6):
        found = {note.note_id for note in Note.objects(note_id__in=ids[:length])}
        assert found == set(ids[:length])
    assert list(Note.objects(note_id=ids[0], place__in=[1, 2])) == list(Note.objects(note_id=ids[0], place__in=[1]))
    assert len(recorder.prepared) == 2


def test_a_time_to_live_reaches_the_server(database: Database) -> None:
    note_id = uuid4()
    Note.ttl(600).create(note_id=note_id, place=1, text="x")
    [row] = connection.execute(
        f'SELECT TTL("text") AS seconds FROM {database.keyspace}.notes WHERE "note_id" = %(0)s', {"0": note_id}
    )
    assert 590 <= row["seconds"] <= 600


def test_a_plain_batch_goes_out_as_prepared_statements(recorder: Recorder) -> None:
    note_id = uuid4()
    with BatchQuery() as batch:
        for place in range(3):
            Note.batch(batch).create(note_id=note_id, place=place)
    [sent] = recorder.sent
    assert isinstance(sent, BatchStatement)
    assert all(is_prepared for is_prepared, _, _ in sent._statements_and_parameters)
    assert sent.routing_key == note_id.bytes, "the driver can send it to a replica"
    assert sent.is_idempotent
    assert len(list(Note.objects(note_id=note_id))) == 3


def test_a_conditional_batch_goes_out_prepared_and_says_whether_it_was_applied(recorder: Recorder) -> None:
    note_id = uuid4()
    Note.if_not_exists().create(note_id=note_id, place=0, version=1)
    recorder.sent.clear()
    change_guarded(note_id, version=1, others=[1])
    [sent] = recorder.sent
    assert isinstance(sent, BatchStatement)
    assert all(is_prepared for is_prepared, _, _ in sent._statements_and_parameters)
    assert not sent.is_idempotent
    assert places_of(note_id) == {0: 2, 1: None}
    with pytest.raises(LWTException) as refused:
        change_guarded(note_id, version=1, others=[2])
    assert refused.value.existing["version"] == 2
    assert places_of(note_id) == {0: 2, 1: None}, "none of it was applied"


def test_a_batch_of_which_several_conditions_fail_is_refused() -> None:
    note_id = uuid4()
    for place in range(3):
        Note.if_not_exists().create(note_id=note_id, place=place, version=1)
    with pytest.raises(LWTException):
        change_guarded(note_id, version=7, others=[1, 2])
    with pytest.raises(LWTException):
        change_guarded(note_id, version=1, others=[1, 2])
    assert places_of(note_id) == {0: 1, 1: 1, 2: 1}


def change_guarded(note_id: UUID, version: int, others: list[int]) -> None:
    with BatchQuery(batch_type=BatchType.Unlogged) as batch:
        Note.objects(note_id=note_id, place=0).iff(version=version).batch(batch).update(version=version + 1)
        for place in others:
            Note.batch(batch).if_not_exists().create(note_id=note_id, place=place)


def places_of(note_id: UUID) -> dict[int, int | None]:
    return {note.place: note.version for note in Note.objects(note_id=note_id)}


@pytest.mark.parametrize("serial", [ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL])
def test_a_serial_read_sees_what_a_conditional_write_wrote(recorder: Recorder, serial: int) -> None:
    note_id = uuid4()
    Note.if_not_exists().create(note_id=note_id, place=0, version=5)
    assert Note.objects(note_id=note_id).consistency(serial).first().version == 5
    assert recorder.sent[-1].consistency_level == ConsistencyLevel.LOCAL_SERIAL


def test_none_in_a_conditional_update_keeps_its_condition() -> None:
    note_id = uuid4()
    Note.if_not_exists().create(note_id=note_id, place=0, version=1, text="kept", other="kept")
    with pytest.raises(LWTException), tally() as counted:
        Note.objects(note_id=note_id, place=0).iff(version=9).update(text="changed", other=None, version=10)
    assert counted.statements == 1
    kept = Note.objects(note_id=note_id, place=0).first()
    assert (kept.text, kept.other, kept.version) == ("kept", "kept", 1)
    Note.objects(note_id=note_id, place=0).iff(version=1).update(text=None, other=None, version=2)
    changed = Note.objects(note_id=note_id, place=0).first()
    assert (changed.text, changed.other, changed.version) == (None, None, 2)


def test_more_rows_than_a_page_holds_all_arrive() -> None:
    note_id, rows = uuid4(), 5_321
    for start in range(0, rows, 100):
        with BatchQuery(batch_type=BatchType.Unlogged) as batch:
            for place in range(start, min(start + 100, rows)):
                Note.batch(batch).create(note_id=note_id, place=place)
    with tally() as counted:
        assert [note.place for note in Note.objects(note_id=note_id)] == list(range(rows))
    assert counted.statements == 2, "5,000 rows make a page"
    with tally() as counted:
        assert len(list(Note.objects(note_id=note_id).fetch_size(1000))) == rows
    assert counted.statements == 6


def test_after_the_deadline_nothing_reaches_the_server(recorder: Recorder) -> None:
    note_id = uuid4()
    with deadline(0), pytest.raises(DatabaseUnavailable):
        Note.create(note_id=note_id, place=1)
    with deadline(1.5):
        assert Note.objects(note_id=note_id).first() is None
    assert len(recorder.sent) == 1
    assert 0 < recorder.timeouts[0] <= 1.5


def test_ddl_passes_through(database: Database) -> None:
    table = f"{database.keyspace}.passing"
    connection.execute(f"CREATE TABLE {table} (id uuid PRIMARY KEY)")
    connection.execute(f"ALTER TABLE {table} ADD text text")
    connection.execute(f"TRUNCATE {table}")
    assert not list(connection.execute(f"SELECT id, text FROM {table}"))
    connection.execute(f"DROP TABLE {table}")
    with pytest.raises(SchemaBehind):
        connection.execute(f"SELECT id FROM {table}")


def test_a_schema_change_under_statements_in_use_does_no_harm(database: Database) -> None:
    note_id = uuid4()
    Note.create(note_id=note_id, place=0, text="steady", version=7)
    with in_use(note_id) as failures:
        for number in range(3):
            connection.execute(f"ALTER TABLE {database.keyspace}.notes ADD extra{number} text")
            connection.execute(
                f"UPDATE {database.keyspace}.notes SET extra{number} = %(0)s WHERE note_id = %(1)s AND place = 0",
                {"0": "new", "1": note_id},
            )
        for number in range(3):
            connection.execute(f"ALTER TABLE {database.keyspace}.notes DROP extra{number}")
    assert failures == []


@contextmanager
def in_use(note_id: UUID) -> Iterator[list[Any]]:
    """Read and write this note in four threads all the while, and collect whatever is not as it should be."""
    failures: list[Any] = []
    stop, turns = threading.Event(), [0] * 4

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                Note.create(note_id=note_id, place=number + 1, text=f"text {turns[number]}", version=7)
                rows = {row.place: row for row in Note.objects(note_id=note_id)}
                expected = ("steady", f"text {turns[number]}", None, 7)
                mine = rows[number + 1]
                if (rows[0].text, mine.text, mine.other, mine.version) != expected:
                    failures.append(mine)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a harm
                failures.append(error)
            turns[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert min(turns) > 0, "each thread was at work during the change"


def test_a_table_that_is_missing_and_comes_back_needs_no_restart() -> None:
    class Fleeting(StoreModel):
        """A table that is dropped while its statements are prepared."""

        __table_name__ = "fleeting"

        note_id = columns.UUID(partition_key=True)
        text = columns.Text()

    note_id = uuid4()
    with pytest.raises(SchemaBehind):
        Fleeting.create(note_id=note_id, text="too early")
    for text in ("first", "again"):
        sync_table(Fleeting)
        Fleeting.create(note_id=note_id, text=text)
        assert Fleeting.objects(note_id=note_id).first().text == text
        drop_table(Fleeting)
        with pytest.raises(SchemaBehind):
            Fleeting.create(note_id=note_id, text="too late")


def test_an_order_is_written_by_one_batch_of_two_shapes(recorder: Recorder) -> None:
    order_id = uuid4()
    with BatchQuery() as batch:
        OrderRow.batch(batch).if_not_exists().create(
            order_id=order_id, line=0, user_id=order_id, status="PENDING", version=1, reached={"PENDING": NOON}
        )
        for line in range(1, 100):
            OrderRow.batch(batch).create(order_id=order_id, line=line, quantity=line, total=Decimal("1.50"))
    [sent] = recorder.sent
    assert len({query_id for _, query_id, _ in sent._statements_and_parameters}) == 2
    OrderRow.objects(order_id=order_id).iff(version=1).update(
        status="CONFIRMED", version=2, payment_method=None, reached__update={"CONFIRMED": NOON}
    )
    rows = list(OrderRow.objects(order_id=order_id))
    assert [row.line for row in rows] == list(range(100))
    assert {(row.status, row.version, len(row.reached)) for row in rows} == {("CONFIRMED", 2, 2)}
    with pytest.raises(LWTException):
        OrderRow.objects(order_id=order_id).iff(version=1).update(status="CANCELLED", version=2)


def test_a_stock_partition_changes_by_one_guarded_batch_range_delete_included() -> None:
    product_id = uuid4()
    head = {"product_id": product_id, "kind": HEAD, "sequence": 0, "operation_id": NO_OPERATION}
    Stock.if_not_exists().create(**head, on_hand=0, reserved=0, version=0)

    def receive(version: int, *, forget: int) -> None:
        with BatchQuery(batch_type=BatchType.Unlogged) as batch:
            Stock.objects(**head).iff(version=version).batch(batch).update(on_hand=version + 1, version=version + 1)
            movements = StockMovement.objects(product_id=product_id, kind=MOVEMENT)
            movements.filter(sequence__lte=forget).batch(batch).delete()
            StockMovement.batch(batch).create(
                product_id=product_id, kind=MOVEMENT, sequence=version + 1, operation_id=NO_OPERATION, delta=1
            )

    for version in range(6):
        receive(version, forget=version - 2)
    with pytest.raises(LWTException):
        receive(2, forget=100)
    stock = Stock.objects(**head).first()
    assert (stock.on_hand, stock.reserved, stock.version) == (6, 0, 6)
    assert [row.sequence for row in StockMovement.objects(product_id=product_id, kind=MOVEMENT)] == [6, 5, 4]
