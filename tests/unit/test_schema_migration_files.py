"""Migrations as files: which are refused, which are pending, and which statements they may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import create_autospec

import pytest

from store_manager.errors import SettingError
from store_manager.schema.backfills import put
from store_manager.schema.faults import ConfirmationMissing, MigrationChanged, MigrationInvalid
from store_manager.schema.histories import APPLIED, BEGUN, NOT_NEEDED
from store_manager.schema.marks import Marks
from store_manager.schema.migrations import (
    Migration,
    Record,
    choose_pending,
    find_directory,
    read_migrations,
    write_skeleton,
)
from store_manager.schema.moves import Migrating
from store_manager.schema.runs import Runner, Terms
from store_manager.schema.tables import identify
from store_manager.settings import Settings

if TYPE_CHECKING:
    from store_manager.schema.steps import Step

FINE = '"""Do something.\n\nAnd why.\n"""\n\n\ndef migrate(step):\n    pass\n'


def file(folder: Path, name: str, text: str = FINE) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def migration(name: str, checksum: str = "c") -> Migration:
    return Migration(name, "Do something", checksum, lambda _step: None)


def recorded(name: str, outcome: str = APPLIED, checksum: str = "c") -> dict[str, Record]:
    return {name: Record(name, "Do something", checksum, outcome)}


def test_migrations_are_read_in_the_order_of_their_numbers_with_their_titles(tmp_path: Path) -> None:
    file(tmp_path, "0010_last.py")
    file(tmp_path, "0002_first.py")
    file(tmp_path, "README.md", "no migration")
    file(tmp_path, "__init__.py", "")
    found = read_migrations(tmp_path)
    assert [(one.name, one.title) for one in found] == [("0002_first", "Do something"), ("0010_last", "Do something")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("1_short.py", FINE, "four digits"),
        ("0001_Capital.py", FINE, "four digits"),
        ("0001_broken.py", "def migrate(step:\n", "SyntaxError"),
        ("0001_import.py", "import no_such_module\n", "no_such_module"),
        ("0001_untitled.py", "def migrate(step):\n    pass\n", "needs a docstring"),
        ("0001_idle.py", '"""Do something."""\n', "needs a docstring"),
    ],
)
def test_a_file_that_is_no_migration_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = file(tmp_path, name, text)
    with pytest.raises(MigrationInvalid, match=said) as refusal:
        read_migrations(tmp_path)
    assert str(path) in refusal.value.message


def test_two_files_with_one_number_are_named(tmp_path: Path) -> None:
    file(tmp_path, "0001_one.py")
    file(tmp_path, "0001_other.py")
    with pytest.raises(MigrationInvalid, match=r"0001_one\.py and 0001_other\.py"):
        read_migrations(tmp_path)


def test_a_file_that_was_changed_has_another_checksum_and_does_something_else_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = file(tmp_path, "0001_one.py", FINE.replace("pass", "return 1"))
    (before,) = read_migrations(tmp_path)
    then = path.stat()
    path.write_text(FINE.replace("pass", "return 2"), encoding="utf-8")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))  # as old and as long: all that Python compares
    (after,) = read_migrations(tmp_path)
    assert before.checksum != after.checksum
    functions: list[Any] = [before.migrate, after.migrate]
    assert [function(None) for function in functions] == [1, 2]


def test_what_is_applied_or_not_needed_is_not_pending_and_what_was_only_begun_is() -> None:
    there = [migration(name) for name in ("0001_a", "0002_b", "0003_c", "0004_d")]
    records = recorded("0001_a") | recorded("0002_b", NOT_NEEDED) | recorded("0003_c", BEGUN)
    assert [one.name for one in choose_pending(there, records)] == ["0003_c", "0004_d"]


def test_a_file_that_was_begun_may_be_mended() -> None:
    mended = migration("0001_a", "mended")
    assert choose_pending([mended], recorded("0001_a", BEGUN, "broken")) == [mended]


@pytest.mark.parametrize("outcome", [APPLIED, NOT_NEEDED])
def test_a_file_that_is_settled_may_neither_change_nor_go(outcome: str) -> None:
    with pytest.raises(MigrationChanged, match=r"0001_a\.py is no longer the same"):
        choose_pending([migration("0001_a", "changed")], recorded("0001_a", outcome))
    with pytest.raises(MigrationChanged, match=r"0001_a\.py is missing"):
        choose_pending([], recorded("0001_a", outcome))


def test_a_file_that_comes_late_needs_a_later_number() -> None:
    with pytest.raises(MigrationInvalid, match=r"0001_late\.py stands before 0002_b\.py"):
        choose_pending([migration("0001_late"), migration("0002_b")], recorded("0002_b"))


def test_the_directory_is_the_chosen_one_or_that_of_the_settings_or_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkout = Path(__file__).parents[2] / "migrations"
    assert find_directory(Settings()) == checkout
    (tmp_path / "migrations").mkdir()
    assert find_directory(Settings()) == tmp_path / "migrations"
    (tmp_path / "moves").mkdir()
    named = Settings(schema_migrations=str(tmp_path / "moves"))
    assert find_directory(named) == tmp_path / "moves"
    assert find_directory(named, tmp_path) == tmp_path


def test_a_directory_that_is_not_there_is_named_with_the_setting() -> None:
    with pytest.raises(SettingError, match=r"no directory no-such-place of migrations: .*SCHEMA_MIGRATIONS"):
        find_directory(Settings(schema_migrations="no-such-place"))


def test_a_skeleton_has_the_next_number_and_is_a_migration_that_says_that_nothing_is_done_yet(tmp_path: Path) -> None:
    file(tmp_path, "0041_before.py")
    path = write_skeleton(tmp_path, "Split the labels, at last!")
    assert path.name == "0042_split_the_labels_at_last.py"
    made = read_migrations(tmp_path)[-1]
    assert made.title == "Split the labels, at last!"
    with pytest.raises(NotImplementedError, match="0042_split_the_labels_at_last"):
        made.migrate(None)


def test_a_skeleton_needs_a_title_that_can_be_a_name(tmp_path: Path) -> None:
    with pytest.raises(MigrationInvalid, match="letters or digits"):
        write_skeleton(tmp_path, "…")


@pytest.fixture
def ran() -> list[Step]:
    return []


def migrating(ran: list[Step], *allowed: str) -> Migrating:
    """Return a migration at work, of which nothing is done and whose statements go to a list."""
    marks = create_autospec(Marks, instance=True)
    marks.is_done.return_value = False
    runner = create_autospec(Runner, instance=True)
    runner.settings, runner.terms, runner.run = Settings(), Terms(allow=allowed), ran.append
    return Migrating("0001_test", cast("Runner", runner), cast("Marks", marks))


@pytest.mark.parametrize(
    ("cql", "what"),
    [
        ("ALTER TABLE {keyspace}.boxes ADD IF NOT EXISTS colour text", "add column boxes.colour"),
        ("ALTER TABLE {keyspace}.boxes WITH gc_grace_seconds = 864000;", "set options of boxes"),
        ("CREATE INDEX IF NOT EXISTS by_colour ON {keyspace}.boxes (colour)", "create index by_colour"),
    ],
)
def test_a_statement_that_may_be_met_twice_is_run_in_the_keyspace(ran: list[Step], cql: str, what: str) -> None:
    migrating(ran).ddl(cql)
    (step,) = ran
    assert (step.what, step.destroys) == (what, None)
    assert step.cql == cql.replace("{keyspace}", "store_manager").rstrip(";")


@pytest.mark.parametrize("options", ["", " WITH comment = 'boxes by name'"])
def test_a_table_gets_its_id_from_its_name(ran: list[Step], options: str) -> None:
    migrating(ran).ddl(
        f"""CREATE TABLE IF NOT EXISTS {{keyspace}}.boxes (
                box_id int PRIMARY KEY, label text
            ){options}"""
    )
    (step,) = ran
    joint = "AND" if options else "WITH"
    assert step.cql.endswith(f"label text ){options} {joint} ID = {identify('store_manager', 'boxes')}")


@pytest.mark.parametrize(
    ("cql", "name"),
    [
        ("ALTER TABLE {keyspace}.boxes DROP IF EXISTS colour", "column:boxes.colour"),
        ("DROP TABLE IF EXISTS {keyspace}.boxes", "table:boxes"),
        ("DROP INDEX IF EXISTS {keyspace}.by_colour", "index:by_colour"),
    ],
)
def test_what_destroys_something_is_run_only_if_it_is_named(ran: list[Step], cql: str, name: str) -> None:
    with pytest.raises(ConfirmationMissing, match=f"--allow {name}"):
        migrating(ran).ddl(cql)
    assert ran == []
    migrating(ran, name).ddl(cql)
    assert [step.destroys for step in ran] == [name]


@pytest.mark.parametrize(
    "cql",
    [
        "ALTER TABLE {keyspace}.boxes ADD colour text",
        "ALTER TABLE {keyspace}.boxes DROP IF EXISTS (colour, size)",
        "CREATE TABLE {keyspace}.boxes (box_id int PRIMARY KEY)",
        "DROP TABLE {keyspace}.boxes",
        "DROP KEYSPACE IF EXISTS {keyspace}",
        "ALTER TABLE elsewhere.boxes ADD IF NOT EXISTS colour text",
        "TRUNCATE {keyspace}.boxes",
        "UPDATE {keyspace}.boxes SET label = 'x' WHERE box_id = 1",
    ],
)
def test_any_other_statement_is_refused(ran: list[Step], cql: str) -> None:
    with pytest.raises(MigrationInvalid, match="0001_test"):
        migrating(ran).ddl(cql)
    assert ran == []


def test_a_row_without_the_time_of_its_source_is_not_written() -> None:
    with pytest.raises(MigrationInvalid, match="WRITETIME"):
        put("boxes", {"box_id": 1}, written_at=None)
