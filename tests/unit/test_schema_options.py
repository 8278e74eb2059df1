"""When two values of a table's option are the same to Cassandra, and what follows from setting one."""

from __future__ import annotations

from typing import Any

import pytest

from store_manager.schema.options import (
    DEFAULTS,
    Change,
    find_changed,
    find_set_by_hand,
    is_lost,
    is_same,
    options_of,
    write_options,
)
from store_manager.schema.steps import Safety

PACKAGE = "org.apache.cassandra.db.compaction."
STCS = {"class": f"{PACKAGE}SizeTieredCompactionStrategy", "max_threshold": "32", "min_threshold": "4"}
LCS = {"class": f"{PACKAGE}LeveledCompactionStrategy", "max_threshold": "32", "min_threshold": "4"}
UNTOUCHED = {**DEFAULTS, "compaction": STCS, "cdc": None, "memtable": None}
"""The options of a table whose maker said nothing, as a node tells them."""


@pytest.mark.parametrize(
    ("name", "declared", "told"),
    [
        ("speculative_retry", "99PERCENTILE", "99p"),
        ("speculative_retry", "99.0p", "99p"),
        ("speculative_retry", "min(99p, 50ms)", "MIN(99p,50ms)"),
        ("speculative_retry", "NONE", "NEVER"),
        ("additional_write_policy", "50MS", "50ms"),
        ("read_repair", "none", "NONE"),
        ("bloom_filter_fp_chance", "0.01", 0.01),
        ("crc_check_chance", 1, 1.0),
        ("gc_grace_seconds", "864000", 864000),
        ("cdc", False, None),
        ("compaction", {"class": "SizeTieredCompactionStrategy"}, STCS),
        (
            "compaction",
            {"class": "LeveledCompactionStrategy", "sstable_size_in_mb": 64},
            {**LCS, "sstable_size_in_mb": "64"},
        ),
        ("compression", {"enabled": False}, {"enabled": "false"}),
        (
            "compression",
            {"class": "LZ4Compressor"},
            {"class": "org.apache.cassandra.io.compress.LZ4Compressor", "chunk_length_in_kb": "16"},
        ),
        ("caching", {"keys": "all"}, {"keys": "ALL", "rows_per_partition": "NONE"}),
    ],
)
def test_what_cassandra_writes_in_another_way_is_the_same(name: str, declared: Any, told: Any) -> None:
    assert is_same(name, declared, told)


@pytest.mark.parametrize(
    ("name", "declared", "told"),
    [
        ("speculative_retry", "99p", "95p"),
        ("comment", "Shelves", "shelves"),
        ("comment", "1", "1.0"),
        ("gc_grace_seconds", 864000, 5),
        ("compaction", {"class": "SizeTieredCompactionStrategy"}, LCS),
        ("compaction", {"class": "SizeTieredCompactionStrategy"}, {**STCS, "tombstone_threshold": "0.9"}),
        ("compaction", {"class": "SizeTieredCompactionStrategy"}, {**STCS, "min_threshold": "8"}),
        ("compression", {"class": "LZ4Compressor"}, {"enabled": "false"}),
    ],
)
def test_another_value_is_another_value(name: str, declared: Any, told: Any) -> None:
    assert not is_same(name, declared, told)
    assert [change.name for change in find_changed({name: declared}, {name: told})] == [name]


def test_a_table_that_nobody_touched_has_nothing_set_by_hand() -> None:
    assert find_set_by_hand({}, UNTOUCHED) == []


def test_the_filter_of_a_leveled_table_is_not_taken_for_set_by_hand() -> None:
    leveled = {**UNTOUCHED, "compaction": LCS, "bloom_filter_fp_chance": 0.1}
    assert find_set_by_hand({"compaction": {"class": "LeveledCompactionStrategy"}}, leveled) == []
    assert [one.name for one in find_set_by_hand({}, {**UNTOUCHED, "bloom_filter_fp_chance": 0.1})] == [
        "bloom_filter_fp_chance"
    ]


def test_what_is_declared_is_never_taken_for_set_by_hand() -> None:
    assert find_set_by_hand({"gc_grace_seconds": 10}, {**UNTOUCHED, "gc_grace_seconds": 5}) == []


def test_an_option_that_this_tool_does_not_know_is_compared_only_if_it_is_declared() -> None:
    assert find_set_by_hand({}, {**UNTOUCHED, "incremental_backups": True}) == []
    assert len(find_changed({"incremental_backups": False}, {**UNTOUCHED, "incremental_backups": True})) == 1


def test_change_data_capture_that_is_off_on_the_nodes_is_not_tried_for_ever() -> None:
    assert find_changed({"cdc": True}, {**UNTOUCHED, "cdc": None}) == []
    assert is_lost("cdc", {"cdc": True}, {**UNTOUCHED, "cdc": None})
    assert [one.name for one in find_changed({"cdc": True}, {**UNTOUCHED, "cdc": False})] == ["cdc"]


def test_a_row_of_the_system_table_has_more_than_options() -> None:
    row = {"keyspace_name": "store", "table_name": "shelves", "id": 7, "flags": {"compound"}, "comment": ""}
    assert options_of(row) == {"comment": ""}


def test_options_are_written_so_that_cassandra_reads_them() -> None:
    values = {"comment": "a shelf's key = {x", "caching": {"keys": "ALL"}, "gc_grace_seconds": 5}
    assert write_options(values) == (
        "caching = {'keys': 'ALL'} AND comment = 'a shelf''s key = {x' AND gc_grace_seconds = 5"
    )


def test_only_another_compaction_makes_nodes_work_on_what_they_hold() -> None:
    slow = [name for name in DEFAULTS if Change(name, None, DEFAULTS[name]).safety is Safety.SLOW]
    assert slow == ["compaction"]


def test_a_shorter_grace_asks_for_repairs_and_another_compression_for_a_rewrite() -> None:
    assert "repair every node at least every 5 s" in (Change("gc_grace_seconds", 864000, 5).follow_up or "")
    assert Change("gc_grace_seconds", 5, 864000).follow_up is None
    assert "upgradesstables" in (Change("compression", {}, {}).follow_up or "")
