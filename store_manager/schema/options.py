"""The options of tables: Cassandra's defaults, when two values are the same, and what it means to set one.

Nothing here knows of Models or talks to the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cassandra.metadata import TableMetadataV3

from store_manager.schema.steps import Safety

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_GC_GRACE_S = 864_000

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "additional_write_policy": "99p",
        "bloom_filter_fp_chance": 0.01,
        "caching": {"keys": "ALL", "rows_per_partition": "NONE"},
        "cdc": False,
        "comment": "",
        "compaction": {"class": "SizeTieredCompactionStrategy"},
        "compression": {"class": "LZ4Compressor"},
        "crc_check_chance": 1.0,
        "default_time_to_live": 0,
        "gc_grace_seconds": DEFAULT_GC_GRACE_S,
        "max_index_interval": 2048,
        "memtable": "default",
        "memtable_flush_period_in_ms": 0,
        "min_index_interval": 128,
        "read_repair": "BLOCKING",
        "speculative_retry": "99p",
    }
)
"""What Cassandra 4.1 gives a table whose maker says nothing. Any other option is compared only if it is declared."""

_NOT_OPTIONS = {"dclocal_read_repair_chance", "extensions", "flags", "id", "keyspace_name", "read_repair_chance"}
_NOT_OPTIONS |= {"table_name"}
_FILLED_IN = {
    "compaction": {"max_threshold": "32", "min_threshold": "4", "enabled": "true"},
    "compression": {"chunk_length_in_kb": "16", "enabled": "true"},
    "caching": {"keys": "all", "rows_per_partition": "none"},
}
"""What Cassandra writes into a map beside what it was told."""

UNHEARD = "additional_write_policy"
"""What Cassandra 4.1 leaves out when it compares a table with itself after an ALTER: if nothing else changes, it says
that it is done, and keeps the old value."""

_POLICIES = {"additional_write_policy", "speculative_retry", "read_repair"}
_LEVELED_FP_CHANCE = 0.1
_REWRITE = "`nodetool upgradesstables -a` on each node, to rewrite what is on its disk already"


@dataclass(frozen=True)
class Change:
    """An option that has another value than it should have."""

    name: str
    existing: Any
    wanted: Any

    @property
    def safety(self) -> Safety:
        """Whether nodes have to work on what they hold."""
        return Safety.SLOW if self.name == "compaction" else Safety.SAFE

    @property
    def follow_up(self) -> str | None:
        """What people have to do once it is set, if anything."""
        if self.name in {"compression", "bloom_filter_fp_chance"}:
            return _REWRITE
        if self.name == "gc_grace_seconds" and float(self.wanted) < DEFAULT_GC_GRACE_S:
            return f"repair every node at least every {self.wanted} s, or rows that were deleted come back"
        return None


def options_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a row of `system_schema.tables` tells."""
    return {name: value for name, value in row.items() if name not in _NOT_OPTIONS}


def find_changed(declared: Mapping[str, Any], existing: Mapping[str, Any]) -> list[Change]:
    """Return the declared options that have another value, and can get the one that is declared."""
    return [
        Change(name, existing[name], value)
        for name, value in declared.items()
        if name in existing and not is_same(name, value, existing[name]) and not is_lost(name, declared, existing)
    ]


def is_lost(name: str, declared: Mapping[str, Any], existing: Mapping[str, Any]) -> bool:
    """Return whether nodes take what is declared without keeping it, because their configuration has it off."""
    return name == "cdc" and bool(declared[name]) and existing.get(name) is None


def find_set_by_hand(declared: Mapping[str, Any], existing: Mapping[str, Any]) -> list[Change]:
    """Return the options that are not declared and have another value than Cassandra gives by default."""
    return [
        Change(name, existing[name], default)
        for name, default in DEFAULTS.items()
        if name in existing
        and name not in declared
        and not is_same(name, default, existing[name])
        and not _follows_from_compaction(name, existing)
    ]


def is_same(name: str, one: Any, other: Any) -> bool:
    """Return whether Cassandra takes two values of this option for the same."""
    return bool(_normalise(name, one) == _normalise(name, other))


def write_options(values: Mapping[str, Any]) -> str:
    """Return options as CQL, joined by AND, in the order of their names."""
    return " AND ".join(TableMetadataV3._make_option_strings(values))  # noqa: SLF001 - as cqlengine writes them


def tell(changes: Iterable[Change]) -> str:
    """Say to people what there is, and what there should be."""
    return "; ".join(f"{one.name} is {_say(one.existing)}, not {_say(one.wanted)}" for one in changes)


def _say(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_shorten(str(one))}' for key, one in value.items())}}}"
    return repr(value) if isinstance(value, str) else str(value)


def _follows_from_compaction(name: str, existing: Mapping[str, Any]) -> bool:
    """Leveled tables get another filter by default: that nobody set it by hand can't be told."""
    leveled = _shorten(str((existing.get("compaction") or {}).get("class"))) == "LeveledCompactionStrategy"
    return name == "bloom_filter_fp_chance" and leveled and existing[name] == _LEVELED_FP_CHANCE


def _normalise(name: str, value: Any) -> Any:
    if value is None:
        value = DEFAULTS.get(name)
    if isinstance(value, Mapping):
        filled_in = _FILLED_IN.get(name, {})
        pairs = {str(key): _shorten(str(one)).lower() for key, one in value.items()}
        return {key: one for key, one in pairs.items() if filled_in.get(key) != one}
    if name == "comment":
        return str(value)
    if name in _POLICIES:
        return _normalise_policy(str(value))
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).lower()


def _normalise_policy(value: str) -> str:
    text = re.sub(r"\s", "", value.upper()).replace("PERCENTILE", "P")
    return {"NONE": "NEVER"}.get(text, re.sub(r"(\d)\.0+(?=P|MS)", r"\1", text))


def _shorten(name: str) -> str:
    """Cassandra tells its classes with their package."""
    return name.rpartition(".")[2] if name.startswith("org.apache.cassandra.") else name
