"""What the source promises: only DAOs query, each query says how it is sent, each table what it serves."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import store_manager
from store_manager.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.models import StoreModel

PACKAGE = Path(store_manager.__file__).parent
QUERYING = {"objects", "if_not_exists", "if_exists", "iff", "save", "batch", "ttl", "allow_filtering"}
"""What only a cqlengine Model, its instances and querysets have."""
QUERY_WAYS = {"models", "database", "dao"}
"""Where it may stand: in the Models and under them it is made possible, in the DAOs it is used."""
SHARED = {"conditional.py", "rows.py"}
"""What the DAOs share: they are given the query by those who say how it is sent."""
FACTS = (("Consistency: ",), ("Idempotent", "idempotent", "Safe to send again"), ("Partition",))


def functions_of(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in tree.body if isinstance(node, ast.FunctionDef))


def attributes_in(node: ast.AST) -> set[str]:
    return {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}


def test_only_daos_query_models() -> None:
    offenders = {
        f"{path.relative_to(PACKAGE)}: {', '.join(sorted(found))}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in QUERY_WAYS
        if (found := attributes_in(ast.parse(path.read_text(encoding="utf-8"))) & QUERYING)
    }
    assert not offenders


def test_nothing_filters_or_counts_the_whole_cluster() -> None:
    for path in (PACKAGE / "dao").glob("*.py"):
        assert not attributes_in(ast.parse(path.read_text(encoding="utf-8"))) & {"allow_filtering", "count"}, path.name


def test_every_query_says_its_consistency_its_idempotence_and_its_partition() -> None:
    silent = []
    for path in (PACKAGE / "dao").glob("*.py"):
        for function in functions_of(path):
            queries = bool(attributes_in(function) & (QUERYING | {"create", "apply"}))
            if path.name in SHARED or function.name.startswith("_") or function.name == "rehearse" or not queries:
                continue
            said = " ".join((ast.get_docstring(function) or "").split())
            if not all(any(one in said for one in fact) for fact in FACTS):
                silent.append(f"{path.name}: {function.name}")
    assert not silent


@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_which_query_it_serves(model: type[StoreModel]) -> None:
    assert "Serves: " in (inspect.getdoc(model) or "")


@pytest.mark.parametrize("table", sorted({model.column_family_name(include_keyspace=False) for model in MODELS}))
def test_every_table_says_how_large_a_partition_grows(table: str) -> None:
    said = [
        inspect.getdoc(model) or "" for model in MODELS if model.column_family_name(include_keyspace=False) == table
    ]
    assert any(size in text for text in said for size in ("partition", "a day"))
