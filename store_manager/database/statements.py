"""From cqlengine's text to the shape of a statement, which is what is prepared, and what may be done with it.

Pure: nothing here knows of a connection (`store_manager.database.sessions` prepares, binds and sends).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cassandra.cqlengine.statements import InQuoter
from cassandra.query import BatchType

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(Enum):
    """What a statement does; the value names the execution profile it goes out with."""

    READ = "read"
    WRITE = "write"
    CONDITIONAL = "conditional"


@dataclass(frozen=True)
class Statement:
    """One statement: the text to prepare, and what to bind, in the order of the text.

    `slots` holds the name of a parameter, or the number that stood in the text (LIMIT, TTL, TIMESTAMP).
    """

    shape: str
    slots: tuple[str | int, ...]
    kind: Kind
    idempotent: bool

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the values to bind; the list of an IN is bound as one value."""
        return [slot if isinstance(slot, int) else _bare(parameters[slot]) for slot in self.slots]


@dataclass(frozen=True)
class Batch:
    """The statements of one batch, in their order."""

    batch_type: Any
    statements: tuple[Statement, ...]

    @property
    def kind(self) -> Kind:
        """Conditional if any statement of the batch is."""
        conditional = any(statement.kind is Kind.CONDITIONAL for statement in self.statements)
        return Kind.CONDITIONAL if conditional else Kind.WRITE

    @property
    def idempotent(self) -> bool:
        """Whether sending the whole batch twice does the same as sending it once."""
        return all(statement.idempotent for statement in self.statements)


_SLOT = re.compile(r"%\((\w+)\)s|\b(LIMIT|TTL|TIMESTAMP) (\d+)\b")
_CONDITION = re.compile(r"\bIF (?:NOT )?(?:EXISTS\b|\")")
_SELF_REFERENCE = re.compile(r'("\w+") = (?:\1 [+-] |\? \+ \1)')
"""A column that is computed from itself: a counter, or a part of a collection; twice is not once for a list."""
_SERVER_CHOSEN = re.compile(r"\b(?:now|uuid)\(\)")
_BATCH = re.compile(r"BEGIN (UNLOGGED |COUNTER )? ?BATCH( USING TIMESTAMP \d+)?\n(.*)\nAPPLY BATCH;", re.DOTALL)
_BATCH_TYPES = {None: BatchType.LOGGED, "UNLOGGED ": BatchType.UNLOGGED, "COUNTER ": BatchType.COUNTER}
_PREPARABLE = {"SELECT": Kind.READ, "INSERT": Kind.WRITE, "UPDATE": Kind.WRITE, "DELETE": Kind.WRITE}


@lru_cache(maxsize=2048)
def parse(text: str) -> Statement | Batch | None:
    """Return the statement or batch that cqlengine's text stands for; None for anything that is not prepared (DDL)."""
    batch = _BATCH.fullmatch(text)
    if batch is None:
        return _parse_statement(text)
    batch_type, timestamp, lines = batch.groups()
    if timestamp:
        raise ValueError("A batch has no timestamp of its own here: set it on its statements")
    children = tuple(_parse_statement(line.strip()) for line in lines.split("\n"))
    if any(child is None for child in children):
        raise ValueError("A batch holds only INSERT, UPDATE and DELETE")
    return Batch(_BATCH_TYPES[batch_type], tuple(child for child in children if child is not None))


def _parse_statement(text: str) -> Statement | None:
    kind = _PREPARABLE.get(text.partition(" ")[0])
    if kind is None:
        return None
    slots: list[str | int] = []

    def take(match: re.Match[str]) -> str:
        name, keyword, number = match.groups()
        slots.append(name if keyword is None else int(number))
        return "?" if keyword is None else f"{keyword} ?"

    shape = _SLOT.sub(take, text)
    if kind is Kind.WRITE and _CONDITION.search(shape):
        kind = Kind.CONDITIONAL
    return Statement(shape, tuple(slots), kind, _is_idempotent(shape, kind))


def _is_idempotent(shape: str, kind: Kind) -> bool:
    if kind is Kind.READ:
        return True
    return kind is Kind.WRITE and not _SELF_REFERENCE.search(shape) and not _SERVER_CHOSEN.search(shape)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, InQuoter) else value
