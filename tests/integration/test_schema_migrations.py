"""Migrations on a real node: made for these tests, run while others write, interrupted, and run to their end."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cassandra.cqlengine import columns
from click.testing import CliRunner

from store_manager.cli import main
from store_manager.database.connections import Database, open_database
from store_manager.models.base import StoreModel
from store_manager.schema import backfills, histories, migrations
from store_manager.schema.faults import (
    ConfirmationMissing,
    MigrationChanged,
    MigrationFailed,
    MigrationInvalid,
    SchemaRefused,
)
from store_manager.schema.migrations import read_records
from store_manager.schema.runs import Progress, Terms, say
from store_manager.schema.syncs import Report, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_manager.schema.runs import News
    from store_manager.settings import Settings

BOXES = 200


class Box(StoreModel):
    """What is there before the migrations."""

    __table_name__ = "boxes"

    box_id = columns.Integer(partition_key=True)
    label = columns.Text()


class Labelled(StoreModel):
    """What the next version reads instead: boxes by their label."""

    __table_name__ = "boxes_by_label"

    label = columns.Text(partition_key=True)
    box_id = columns.Integer(primary_key=True)
    note = columns.Text()


class Owned(StoreModel):
    """Rows that only conditional writes touch."""

    __table_name__ = "owned"

    box_id = columns.Integer(partition_key=True)
    name = columns.Text()
    slug = columns.Text()
    version = columns.BigInt()
    change_id = columns.UUID()


OLD, NEW = (Box, Owned), (Box, Labelled, Owned)

COPY = '''
"""Find boxes by their label."""

from store_manager.schema.moves import put


def migrate(step):
    step.backfill(
        "labels", table="boxes", columns=("label", "WRITETIME(label) AS written_at"), write=copy, parts=32
    )


def copy(row):
    if row["label"] is not None:
        return put("boxes_by_label", {"label": row["label"], "box_id": row["box_id"]}, written_at=row["written_at"])
'''

SLUGS = '''
"""Give each a slug."""

from store_manager.schema.moves import change


def migrate(step):
    step.backfill("slugs", table="owned", columns=("name", "slug", "version"), write=slug, parts=32)


def slug(row):
    if row["slug"] is None:
        slug = row["name"].lower().replace(" ", "-")
        return change("owned", {"box_id": row["box_id"]}, {"slug": slug}, version=row["version"])
'''


@pytest.fixture(scope="module")
def cluster(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    yield database
    database.close()


@pytest.fixture
def own(settings: Settings, cluster: Database) -> Iterator[Settings]:
    """Settings of a keyspace that the old version has made, before there was any migration."""
    own = replace(settings, cassandra_keyspace=f"test_migration_{uuid.uuid4().hex[:12]}")
    yield own
    cluster.raw.execute(f"DROP KEYSPACE IF EXISTS {own.cassandra_keyspace}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of migrations, empty at first."""
    directory = tmp_path / "moves"
    directory.mkdir()
    return directory


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def doing(body: str) -> str:
    return f'"""Do something."""\n\n\ndef migrate(step):\n    {body}\n'


def fill(database: Database, own: Settings, rows: int = BOXES) -> None:
    for number in range(rows):
        run(database, f"INSERT INTO {own.cassandra_keyspace}.boxes (box_id, label) VALUES ({number}, 'old {number}')")


def run(database: Database, cql: str) -> list[dict[str, Any]]:
    return list(database.raw.execute(cql))


def test_an_empty_keyspace_is_made_whole_and_needs_no_migration(own: Settings, cluster: Database, folder: Path) -> None:
    write(folder, "0001_never", doing("raise AssertionError"))
    terms = Terms(migrations=folder)
    made = sync(cluster, own, NEW, terms=terms)
    assert (made.was_empty, made.not_needed, made.applied) == (True, ("0001_never",), ())
    assert read_records(cluster, own.cassandra_keyspace)["0001_never"].outcome == histories.NOT_NEEDED
    assert sync(cluster, own, NEW, terms=terms) == Report()


def test_a_birth_that_was_interrupted_still_needs_no_migration(own: Settings, cluster: Database, folder: Path) -> None:
    write(folder, "0001_never", doing("raise AssertionError"))

    def interrupt(news: News) -> None:
        if say(news) == "create table boxes_by_label":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(cluster, own, NEW, terms=Terms(migrations=folder), tell=interrupt)
    again = sync(cluster, own, NEW, terms=Terms(migrations=folder))
    assert [step.what for step in again.steps] == ["create table boxes_by_label", "create table owned"]
    assert (again.was_empty, again.applied) == (False, ())


def test_pending_migrations_are_run_in_order_after_what_the_models_add_and_once(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    fill(cluster, own, 3)
    write(folder, "0002_second", doing('assert step.read("SELECT note FROM {keyspace}.boxes_by_label")'))
    write(
        folder,
        "0001_first",
        doing(
            "step.ddl(\"ALTER TABLE {keyspace}.boxes_by_label WITH comment = 'read by label'\")\n"
            '    step.read("INSERT INTO {keyspace}.boxes_by_label (label, box_id) VALUES (%(label)s, 1)", label="x")'
        ),
    )
    done = sync(cluster, own, NEW, terms=terms)
    assert [step.what for step in done.steps] == ["create table boxes_by_label", "set options of boxes_by_label"]
    assert done.applied == ("0001_first", "0002_second")
    assert sync(cluster, own, NEW, terms=terms).did_nothing
    events = histories.list_events(cluster, own.cassandra_keyspace, 4)
    assert [(event.kind, event.outcome) for event in events] == [
        ("migration", "applied"),
        ("step", "applied"),
        ("migration", "applied"),
        ("step", "applied"),
    ]


def test_a_back_fill_copies_every_row_and_never_over_what_was_written_meanwhile(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    fill(cluster, own)
    write(folder, "0001_copy", COPY.replace('"box_id": row["box_id"]}', '"box_id": row["box_id"], "note": "copied"}'))
    ended, written = threading.Event(), []

    def write_both_forms() -> None:
        """Do as the next version of the service does: write both forms, old boxes and new ones."""
        number = 0
        while not ended.is_set():
            box, number = (number * 7) % (2 * BOXES), number + 1
            keyspace = own.cassandra_keyspace
            run(cluster, f"INSERT INTO {keyspace}.boxes (box_id, label) VALUES ({box}, 'old {box}')")
            run(
                cluster,
                f"INSERT INTO {keyspace}.boxes_by_label (label, box_id, note) VALUES ('old {box}', {box}, 'live')",
            )
            written.append(box)

    def start_writing(news: News) -> None:
        if isinstance(news, Progress) and writer.ident is None:
            writer.start()

    writer = threading.Thread(target=write_both_forms)
    try:
        sync(cluster, own, NEW, terms=terms, tell=start_writing)
    finally:
        ended.set()
        writer.join()
    found = {
        row["box_id"]: (row["label"], row["note"])
        for row in run(cluster, f"SELECT label, box_id, note FROM {own.cassandra_keyspace}.boxes_by_label")
    }
    assert found == {
        number: (f"old {number}", "live" if number in written else "copied") for number in {*range(BOXES), *written}
    }


def test_a_copied_row_has_the_time_of_its_source(own: Settings, cluster: Database, folder: Path) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    boxes = f"{own.cassandra_keyspace}.boxes"
    run(cluster, f"INSERT INTO {boxes} (box_id, label) VALUES (1, 'one') USING TIMESTAMP 12345")
    run(cluster, f"INSERT INTO {boxes} (box_id) VALUES (2)")
    write(folder, "0001_copy", COPY)
    sync(cluster, own, NEW, terms=terms)
    copies = run(cluster, f"SELECT * FROM {own.cassandra_keyspace}.boxes_by_label")
    assert [row["box_id"] for row in copies] == [1]
    run(cluster, f"DELETE FROM {own.cassandra_keyspace}.boxes_by_label USING TIMESTAMP 12345 WHERE label = 'one'")
    assert run(cluster, f"SELECT * FROM {own.cassandra_keyspace}.boxes_by_label") == []


def test_rows_owned_by_conditional_writes_are_changed_by_them_and_no_change_of_others_is_lost(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    owned = f"{own.cassandra_keyspace}.owned"
    rows = 40
    for number in range(rows):
        run(cluster, f"INSERT INTO {owned} (box_id, name, version) VALUES ({number}, 'A b', 1) IF NOT EXISTS")
    write(folder, "0001_slugs", SLUGS)
    ended, renamed = threading.Event(), dict.fromkeys(range(rows), 0)

    def rename() -> None:
        number = 0
        while not ended.is_set():
            box, number = number % rows, number + 1
            (row,) = run(cluster, f"SELECT version FROM {owned} WHERE box_id = {box}")
            (answer,) = run(
                cluster,
                f"UPDATE {owned} SET name = 'C {number}', version = {row['version'] + 1} WHERE box_id = {box} "
                f"IF version = {row['version']}",
            )
            renamed[box] += answer["[applied]"]

    renamer = threading.Thread(target=rename)

    def start_renaming(news: News) -> None:
        if isinstance(news, Progress) and renamer.ident is None:
            renamer.start()

    try:
        sync(cluster, own, OLD, terms=terms, tell=start_renaming)
    finally:
        ended.set()
        renamer.join()
    found = run(cluster, f"SELECT box_id, slug, version FROM {owned}")
    assert len(found) == rows
    assert None not in {row["slug"] for row in found}
    assert {row["box_id"]: row["version"] for row in found} == {box: 2 + times for box, times in renamed.items()}


def test_a_back_fill_that_was_interrupted_goes_on_where_it_was(
    own: Settings, cluster: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    fill(cluster, own)
    write(folder, "0001_copy", COPY)
    filled: list[int] = []
    fill_part = backfills.Backfill._fill

    def note(self: Any, part: int, *rest: Any) -> int:
        if part == 20 and part not in filled:
            filled.append(part)
            raise KeyboardInterrupt
        filled.append(part)
        return fill_part(self, part, *rest)

    monkeypatch.setattr(backfills.Backfill, "_fill", note)
    with pytest.raises(KeyboardInterrupt):
        sync(cluster, own, NEW, terms=terms)
    shown = CliRunner().invoke(main, ["schema", "history"], env=environment_of(own))
    assert "Migration 0001_copy was begun and has not ended" in shown.stdout
    assert "labels: 62%" in shown.stdout
    told: list[News] = []
    assert sync(cluster, own, NEW, terms=terms, tell=told.append).applied == ("0001_copy",)
    assert filled == [*range(21), *range(20, 32)]
    progress = [news for news in told if isinstance(news, Progress)]
    assert (progress[0].done, progress[-1].done, progress[-1].rows) == (20, 32, BOXES)
    assert len(run(cluster, f"SELECT * FROM {own.cassandra_keyspace}.boxes_by_label")) == BOXES


def test_a_changed_and_a_missing_file_are_named_and_nothing_is_run(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    first, second = (write(folder, name, doing("pass")) for name in ("0001_first", "0002_second"))
    sync(cluster, own, OLD, terms=terms)
    first.write_text(doing("pass  # a word more"), encoding="utf-8")
    second.unlink()
    with pytest.raises(MigrationChanged, match=r"0001_first\.py is no longer the same; 0002_second\.py is missing"):
        sync(cluster, own, NEW, terms=terms)
    assert "boxes_by_label" not in cluster.cluster.metadata.keyspaces[own.cassandra_keyspace].tables


def test_a_migration_that_failed_is_named_and_once_mended_runs_from_its_start(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    path = write(folder, "0001_wrong", doing('raise ValueError("no such label")'))
    with pytest.raises(MigrationFailed, match=r"0001_wrong failed \(ValueError: no such label\)"):
        sync(cluster, own, OLD, terms=terms)
    assert read_records(cluster, own.cassandra_keyspace)["0001_wrong"].outcome == histories.BEGUN
    path.write_text(doing('step.require("there are boxes", holds=True)'), encoding="utf-8")
    assert sync(cluster, own, OLD, terms=terms).applied == ("0001_wrong",)


def test_what_a_migration_needs_to_be_so_stops_it(own: Settings, cluster: Database, folder: Path) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    write(
        folder,
        "0001_boxes",
        doing('step.require("there are boxes", holds=bool(step.read("SELECT * FROM {keyspace}.boxes")))'),
    )
    with pytest.raises(MigrationFailed, match=r"0001_boxes can't go on, because this is not so: there are boxes"):
        sync(cluster, own, OLD, terms=terms)


def test_a_migration_contracts_once_the_old_writers_are_confirmed_gone_and_the_loss_is_allowed(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, (Box, Labelled), terms=terms)
    sentence = "no service older than 0.2.0 runs any more"
    write(
        folder,
        "0001_contract",
        doing(
            f'step.confirm("old-writers-gone", "{sentence}")\n'
            '    step.ddl("ALTER TABLE {keyspace}.boxes_by_label DROP IF EXISTS note")'
        ),
    )
    models = (Box, Unnoted)
    with pytest.raises(ConfirmationMissing, match=rf"{sentence}\. Confirm it by --confirm old-writers-gone"):
        sync(cluster, own, models, terms=terms)
    terms = replace(terms, confirmed=("old-writers-gone",))
    with pytest.raises(ConfirmationMissing, match=r"drop column .*--allow column:boxes_by_label\.note"):
        sync(cluster, own, models, terms=terms)
    # What was confirmed once is known.
    terms = replace(terms, confirmed=(), allow=("column:boxes_by_label.note",))
    assert sync(cluster, own, models, terms=terms).applied == ("0001_contract",)
    events = histories.list_events(cluster, own.cassandra_keyspace, 10)
    assert [event.what for event in events if event.kind == histories.CONFIRMATION] == [f"0001_contract: {sentence}"]
    assert [event.destroys for event in events if event.destroys] == ["column:boxes_by_label.note"]


class Unnoted(StoreModel):
    """Boxes by their label, without notes."""

    __table_name__ = "boxes_by_label"

    label = columns.Text(partition_key=True)
    box_id = columns.Integer(primary_key=True)


def test_the_name_of_a_table_that_was_dropped_is_never_used_again(
    own: Settings, cluster: Database, folder: Path
) -> None:
    terms = Terms(migrations=folder, allow=("table:boxes_by_label",))
    sync(cluster, own, NEW, terms=terms)
    write(folder, "0001_drop", doing('step.ddl("DROP TABLE IF EXISTS {keyspace}.boxes_by_label")'))
    sync(cluster, own, OLD, terms=terms)
    with pytest.raises(SchemaRefused, match=r"Table boxes_by_label was dropped at .* choose another name"):
        sync(cluster, own, NEW, terms=terms)


def test_a_statement_that_cannot_be_met_twice_is_refused(own: Settings, cluster: Database, folder: Path) -> None:
    terms = Terms(migrations=folder)
    sync(cluster, own, OLD, terms=terms)
    write(folder, "0001_once", doing('step.ddl("ALTER TABLE {keyspace}.boxes ADD colour text")'))
    with pytest.raises(MigrationInvalid, match="can't be met twice"):
        sync(cluster, own, OLD, terms=terms)


def environment_of(own: Settings, folder: Path | None = None) -> dict[str, str]:
    return {
        "CASSANDRA_HOSTS": ",".join(own.cassandra_hosts),
        "CASSANDRA_PORT": str(own.cassandra_port),
        "CASSANDRA_KEYSPACE": own.cassandra_keyspace,
        "CASSANDRA_REPLICATION_FACTOR": str(own.cassandra_replication_factor),
        "SCHEMA_MIGRATIONS": "" if folder is None else str(folder),
    }


def test_the_commands_write_a_skeleton_run_it_and_tell_what_was_done(
    own: Settings, cluster: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store_manager.cli.schema.sync", partial(sync, models=OLD))
    sync(cluster, own, OLD, terms=Terms(migrations=folder))
    environment = environment_of(own, folder)

    made = CliRunner().invoke(main, ["schema", "new", "Copy the labels!"], env=environment)
    path = folder / "0001_copy_the_labels.py"
    assert made.stdout == f"{path}\n"
    (migration,) = migrations.read_migrations(folder)
    assert migration.title == "Copy the labels!"

    unfinished = CliRunner().invoke(main, ["schema", "sync"], env=environment)
    assert unfinished.exit_code == 1
    assert "Migration 0001_copy_the_labels failed (NotImplementedError" in unfinished.stderr

    path.write_text(doing("pass"), encoding="utf-8")
    synced = CliRunner().invoke(main, ["schema", "sync", "--json"], env=environment)
    assert json.loads(synced.stdout)["applied"] == ["0001_copy_the_labels"], synced.stderr

    told = json.loads(CliRunner().invoke(main, ["schema", "history", "--json"], env=environment).stdout)
    assert [(event["kind"], event["outcome"]) for event in told["events"][:3]] == [
        ("migration", "applied"),
        ("migration", "begun"),
        ("step", "applied"),
    ]
    assert told["events"][0]["by"].startswith(socket.gethostname())
    assert told["events"][0]["store_version"]
    read = CliRunner().invoke(main, ["schema", "history"], env=environment).stdout
    assert "0001_copy_the_labels" in read
