"""What an audit concludes from what it read: sums, ages, rows that move under its eyes. No database."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from store_manager.dao import scans
from store_manager.dao import stocks as stock_rows
from store_manager.dao.scans import Moved, StockEntry
from store_manager.database.pages import RowPage, find_place_on_ring
from store_manager.database.sessions import Rows
from store_manager.errors import DatabaseUnavailable
from store_manager.models import Claim
from store_manager.models.stocks import HEAD, HELD, NO_OPERATION, OPERATION, Stock, StockRow
from store_manager.services import clocks, stock_audits
from store_manager.services.findings import (
    LOOKS,
    Code,
    Finding,
    Patience,
    Severity,
    look_repeatedly,
    look_steadily,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference" / "audit.md"
PRODUCT = UUID(int=7)


def test_every_code_is_explained_and_every_explained_one_exists() -> None:
    explained = re.findall(r"^\| `([A-Z_]+)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == list(dict.fromkeys(explained))
    assert set(explained) == {code.value for code in Code}


def test_what_changed_a_moment_ago_may_be_in_flight_and_what_has_no_age_is_wrong() -> None:
    patience, now = Patience(timedelta(seconds=30)), clocks.now()
    old, young = now - timedelta(seconds=31), now - timedelta(seconds=1)
    assert patience.judge(old) is Severity.WRONG
    assert patience.judge(old, None, young) is Severity.IN_FLIGHT
    assert patience.judge(None) is Severity.WRONG


def finding(where: str = "here") -> Finding:
    return Finding(Code.CLAIM_DEAD, "what", where)


def test_what_changes_between_two_readings_is_judged_again_and_at_last_left_alone() -> None:
    moving, judged = count(), []

    def judge(version: int) -> list[Finding]:
        judged.append(version)
        return [finding()]

    assert look_steadily(lambda: next(moving), lambda version: version, judge) == []
    assert len(judged) == LOOKS
    assert look_steadily(lambda: 1, lambda version: version, judge) == [finding()]
    assert look_steadily(lambda: None, lambda version: version, judge) == []


def test_only_what_is_found_each_time_is_found() -> None:
    looks = iter([[finding("a"), finding("b")], [finding("b"), finding("c")], [finding("b"), finding("a")]])
    assert look_repeatedly(lambda: next(looks)) == [finding("b")]


def moved(version: int, delta: int = 0, *, drained: bool = False, operation_id: UUID = NO_OPERATION) -> Moved:
    return Moved(drained, version, operation_id, delta, 0, "COUNTED")


def entry(kind: int, **values: Any) -> StockEntry:
    columns: dict[str, Any] = dict.fromkeys(StockEntry._fields)
    return StockEntry(**columns | {"kind": kind, "operation_id": NO_OPERATION} | values)


@pytest.mark.parametrize(
    ("recent", "ledger", "drained", "found"),
    [
        ([moved(3, 1), moved(2, 1), moved(1, 1)], [], 0, {}),
        ([moved(3, 1)], [moved(2, 1, drained=True), moved(1, 1, drained=True)], 2, {}),
        ([moved(3, 1), moved(2, 1)], [moved(2, 1, drained=True), moved(1, 1, drained=True)], 1, {}),
        ([moved(3, 1), moved(2, 1)], [moved(2, 1, drained=True), moved(1, 1, drained=True)], 2, {"RETURNED": "2"}),
        ([moved(3, 1), moved(1, 1)], [], 0, {"MISSING": "2 of its 3"}),
        ([moved(1, 1)], [], 0, {"MISSING": "2 to 3 of its 3"}),
        ([], [], 0, {"MISSING": "1 to 3 of its 3"}),
        ([moved(3, 1), moved(2, 1), moved(2, 1, operation_id=uuid4()), moved(1, 1)], [], 0, {"DOUBLE": "2"}),
        ([moved(3, 2), moved(2, 1), moved(1, 1)], [], 0, {"BALANCE": "add up to 4 and 0"}),
    ],
)
def test_movements_are_added_up_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, recent: list[Moved], ledger: list[Moved], drained: int, found: dict[str, str]
) -> None:
    monkeypatch.setattr(scans, "walk_recent", lambda *_, **__: iter(recent))
    monkeypatch.setattr(scans, "walk_ledger", lambda *_, **__: iter(ledger))
    findings = list(stock_audits._check_movements(PRODUCT, stock_audits._Head(3, 0, 3, drained)))
    assert len(findings) == len(found)
    for one, (name, text) in zip(findings, found.items(), strict=True):
        assert name in one.code
        assert text in one.what


@pytest.mark.parametrize(("version", "code"), [(3, Code.RESERVED_WRONG), (4, Code.STOCK_BUSY)])
def test_what_is_held_on_several_pages_is_added_up_only_while_the_head_stands_still(
    monkeypatch: pytest.MonkeyPatch, version: int, code: Code
) -> None:
    held = entry(OPERATION, held=1, operation_state=HELD)
    head = entry(HEAD, on_hand=3, reserved=0, version=3, drained=0)

    def walk_partition(_: UUID) -> Iterator[list[StockEntry]]:
        yield [head, held]
        yield [held]

    monkeypatch.setattr(scans, "walk_partition", walk_partition)
    monkeypatch.setattr(stock_rows, "find", lambda *_, **__: Stock(version=version))
    reading = stock_audits._Reading(PRODUCT)
    assert sum(len(page) for page in reading.read()) == 2
    assert reading.head is not None
    [one] = stock_audits._check_head(reading, reading.head)
    assert one.code is code
    assert (one.severity is Severity.IN_FLIGHT) == (code is Code.STOCK_BUSY)


@pytest.mark.parametrize("lacking", ["on_hand", "reserved", "version", "drained"])
def test_a_head_that_lacks_a_number_is_no_head(lacking: str) -> None:
    head = entry(HEAD, on_hand=3, reserved=0, version=3, drained=0)
    assert stock_audits._find_head(head) == stock_audits._Head(3, 0, 3, 0)
    assert stock_audits._find_head(StockEntry(**head._asdict() | {lacking: None})) is None
    assert stock_audits._find_head(head._replace(kind=OPERATION)) is None


def test_a_page_to_which_no_answer_came_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = iter([True, False])

    def fetch(_: bytes) -> Rows:
        if next(failing):
            raise DatabaseUnavailable("planted")
        return Rows([{"n": 3}])

    def read_first(_: Any) -> RowPage:
        rows = Rows([{"n": 1}, {"n": 2}], paging_state=b"2", fetch=fetch)
        return RowPage(list(rows.current_rows), rows, lambda row: row)

    class Queryset:
        def fetch_size(self, _: int) -> Queryset:
            return self

    monkeypatch.setattr(scans, "read_first", read_first)
    assert [[row["n"] for row in page] for page in scans._walk(Queryset(), 2)] == [[1, 2], [3]]


def test_a_place_on_the_ring_is_the_same_for_the_same_partition_whatever_its_key_is_made_of() -> None:
    ids = [StockRow(product_id=UUID(int=number)) for number in range(100)]
    places = [find_place_on_ring(StockRow, row) for row in ids]
    assert all(0 <= place <= 1 for place in places)
    assert len(set(places)) == len(ids)
    assert find_place_on_ring(Claim, Claim(kind="sku", value="a")) != find_place_on_ring(
        Claim, Claim(kind="sku", value="b")
    )
