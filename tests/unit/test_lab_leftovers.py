"""What a node killed at a bad moment leaves, and what of it the lab may remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store_manager.lab.leftovers import finish_removals

if TYPE_CHECKING:
    from pathlib import Path

LOG = """\
ADD:[/old/place/nb-5-big-,0,8][2504546194]
REMOVE:[/old/place/nb-1-big-,1795358176623,8][1845975579]
REMOVE:[/old/place/nb-2-big-,1795358207007,8][3322586056]
"""
COMMIT = "COMMIT:[,0,0][2613697770]\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table's directory: 1 whole, 2 half removed, 12 with a similar name, 5 new."""
    directory = tmp_path / "system_schema" / "types-5a8b"
    directory.mkdir(parents=True)
    for name in ("nb-1-big-Data.db", "nb-1-big-Summary.db", "nb-2-big-Summary.db", "nb-12-big-Data.db"):
        (directory / name).touch()
    (directory / "nb-5-big-Data.db").touch()
    return directory


def test_what_is_left_of_a_half_removed_table_goes(table: Path, tmp_path: Path) -> None:
    (table / "nb_txn_compaction_1.log").write_text(LOG + COMMIT, encoding="utf-8")
    before = set(table.iterdir())
    assert finish_removals(tmp_path) == [table / "nb-2-big-Summary.db"]
    assert before - set(table.iterdir()) == {table / "nb-2-big-Summary.db"}


@pytest.mark.parametrize("end", ["", "ABORT:[,0,0][1]\n", "COMM"])
def test_nothing_goes_when_the_compaction_was_not_committed(table: Path, tmp_path: Path, end: str) -> None:
    (table / "nb_txn_compaction_1.log").write_text(LOG + end, encoding="utf-8")
    assert finish_removals(tmp_path) == []


def test_a_node_without_data_has_nothing_to_remove(tmp_path: Path) -> None:
    assert finish_removals(tmp_path / "data") == []
