"""The documents: their links lead somewhere, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase

from store_manager import metrics
from store_manager.cli import main
from store_manager.database.statements import Kind
from store_manager.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for path in DOCS.rglob("*.md") if "node_modules" not in path.parts)],
)
RECORDS = sorted((DOCS / "adr").glob("*.md"))
TWINS = [
    ("docs/arc42/store-manager.fr.md", "docs/arc42/store-manager.en.md"),
    ("docs/adr/adr001.md", "docs/adr/adr001.en.md"),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
IN_CODE = re.compile(r"`([^`\n]+)`")
FILE_NAME = re.compile(r"[\w./-]*[\w-]\.(?:py|md|cfg|toml|yml|yaml|lock|sample)|[\w.-]+(?:/[\w.-]+)+/?")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LATER = {"cassandra.yaml"}
"""Files that are named, and that only a node has."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def headings(text: str) -> list[tuple[int, str]]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", prose, re.MULTILINE)]


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    titles = [title for _, title in headings(path.read_text(encoding="utf-8"))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    dead = []
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    known = {path.name for folder in ("store_manager", "tests", "compose") for path in (ROOT / folder).rglob("*")}
    missing = []
    for code in IN_CODE.findall(document.read_text(encoding="utf-8")):
        if not FILE_NAME.fullmatch(code) or code in LATER or "://" in code or code.startswith("application/"):
            continue
        places = (ROOT / code, ROOT / "store_manager" / code, document.parent / code)
        if not code.startswith("/") and code not in known and not any(place.exists() for place in places):
            missing.append(code)
    assert missing == []


def test_every_document_is_in_the_index() -> None:
    documents = {str(path.relative_to(DOCS)) for path in DOCUMENTS if DOCS in path.parents} - {"README.md"}
    labs = {name for name in documents if re.match(r"labs/../[1-9]", name)}
    assert documents - labs <= set(LINK.findall(read("docs/README.md")))
    for language in ("en", "fr"):
        index = set(LINK.findall(read(f"docs/labs/{language}/README.md")))
        assert {Path(name).name for name in labs if Path(name).parent.name == language} <= index


def test_every_decision_is_in_the_architecture_documents() -> None:
    for twin, own in zip(TWINS[0], ("adr001.md", "adr001.en.md"), strict=True):
        shown = {record.name for record in RECORDS if not record.name.startswith("adr001")} | {own}
        assert {f"../adr/{name}" for name in shown} <= set(LINK.findall(read(twin)))


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_a_decision_says_its_status_context_decision_and_consequences(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    number = record.name.removeprefix("adr")[:3]
    assert re.match(rf"# ADR {number} ?: \S", text)
    assert re.search(r"(?:- Status: accepted|^Accepted|^Accepté), \d{4}-\d\d-\d\d", text, re.MULTILINE)
    sections = [title for level, title in headings(text) if level == 2]
    assert sections[-3:] in (
        ["Context", "Decision", "Consequences"],
        ["Contexte", "Décision", "Conséquences"],
    )


@pytest.mark.parametrize(("french", "english"), TWINS)
def test_twins_have_the_same_structure(french: str, english: str) -> None:
    ones, others = read(french), read(english)
    assert [level for level, _ in headings(ones)] == [level for level, _ in headings(others)]
    for pattern in (r"^## (\d+)\.", r"^```(\w+)", r"^(\|[-|]+)$", r"^\| \[(\d+)\]"):
        assert re.findall(pattern, ones, re.MULTILINE) == re.findall(pattern, others, re.MULTILINE)
    assert [len(row.split("|")) for row in ones.splitlines() if row.startswith("|")] == [
        len(row.split("|")) for row in others.splitlines() if row.startswith("|")
    ]


@pytest.mark.parametrize("document", [*TWINS[0]])
def test_the_architecture_documents_name_every_table(document: str) -> None:
    text = read(document)
    tables = {model.column_family_name(include_keyspace=False) for model in MODELS}
    assert {table for table in tables if f"`{table}`" not in text} == set()


def test_every_make_target_is_documented_and_every_documented_one_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^\| `make ([a-z-]+)`", read("docs/reference/commands.md"), re.MULTILINE)) == targets
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets, document


def test_every_verb_of_the_command_line_is_documented_and_every_documented_one_exists() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", read("docs/reference/commands.md"), re.MULTILINE)
    documented = {code for cell in first_cells for code in IN_CODE.findall(cell) if not code.startswith("make ")}
    assert documented == set(verbs(main))


def verbs(group: click.Group, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_every_verb_that_a_document_shows_exists() -> None:
    known = set(verbs(main))
    groups = {verb.partition(" ")[0] for verb in known if " " in verb}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for first, second in re.findall(
            r"(?:^ *|`|/)store-manager ([a-z]+) ?([a-z]+(?:-[a-z]+)*)?", text, re.MULTILINE
        ):
            shown = f"{first} {second}".strip() if first in groups else first
            assert shown in known | groups, document


@pytest.fixture(scope="module")
def operations(store_app: Flask) -> dict[str, set[str]]:
    """Every call of the API, and the statuses that it may answer."""
    swagger: Any = store_app.test_client().get("/swagger.json").json
    return {
        f"{method.upper()} {path}": set(operation["responses"])
        for path, item in swagger["paths"].items()
        for method, operation in item.items()
        if method.upper() in METHODS
    }


def test_the_table_of_the_api_has_every_call_and_how_it_answers(operations: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| (`[^|]+) \|.*\| ([\d, ]+) \|$", read("docs/reference/api.md"), re.MULTILINE)
    shown = {call: set(statuses.split(", ")) for cell, statuses in rows for call in IN_CODE.findall(cell)}
    assert set(shown) == set(operations)
    for call, answers in operations.items():
        assert {status for status in answers if status < "300"} <= shown[call] <= answers, call


def test_every_figure_is_documented_with_its_labels() -> None:
    figures = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    known = {(exposed(one), one._labelnames) for one in figures}
    rows = re.findall(r"^\| `(store_\w+)` \| ([^|]+) \|", read("docs/reference/api.md"), re.MULTILINE)
    assert {(name, tuple(IN_CODE.findall(labels))) for name, labels in rows} == known
    text = read("docs/reference/api.md")
    assert [kind.value for kind in Kind if f"`{kind.value}`" not in text] == []


def exposed(figure: MetricWrapperBase) -> str:
    """The name by which Prometheus asks for it."""
    [described] = figure.describe()
    return f"{described.name}_total" if described.type == "counter" else described.name


def test_every_call_of_the_readme_exists(operations: dict[str, set[str]]) -> None:
    known = {re.sub(r"\{\w+\}", "*", call) for call in operations}
    calls = set()
    for method, path, rest in re.findall(r"curl -s (?:-X (\w+) )?[$]store(/[\w$/.-]+)([^\n]*)", read("README.md")):
        anonymous = re.sub(r"[$]\w+", "*", path)
        calls.add(f"{method or ('POST' if '-d ' in rest else 'GET')} {anonymous}")
    assert len(calls) > 5
    assert calls <= known
