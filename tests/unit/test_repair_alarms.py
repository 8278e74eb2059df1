"""When a repair counts as overdue, and what is said then."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec

import pytest

from store_manager.controllers.contexts import EXTENSION, StoreContext
from store_manager.dao import repairs as records
from store_manager.database.ages import Ages
from store_manager.database.connections import Database
from store_manager.database.health import Health, NodeHealth, Part, Reach
from store_manager.errors import DatabaseUnavailable
from store_manager.services import clocks, repairs
from store_manager.settings import Settings

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

MADE = datetime(2026, 11, 1)  # noqa: DTZ001 - the times of the database are naive UTC
AGES = Ages(MADE, timedelta(days=10))


def after(days: float) -> datetime:
    return MADE + timedelta(days=days)


def test_a_young_keyspace_needs_no_repair_yet() -> None:
    assert repairs.judge(AGES, None, 70, after(6.9)) is None


def test_a_keyspace_that_was_never_repaired_is_told_with_its_age() -> None:
    assert repairs.judge(AGES, None, 70, after(7.1)) == (
        "There was no full repair, and the keyspace was made 7.1 days ago, more than 70 % of gc_grace_seconds (10.0 "
        "days): run `store-manager cluster repair`, or rows that were deleted may come back"
    )


def test_the_time_counts_from_the_beginning_of_the_last_repair() -> None:
    assert repairs.judge(AGES, after(7), 70, after(13.9)) is None
    sentence = repairs.judge(AGES, after(7), 70, after(14.1))
    assert sentence is not None
    assert sentence.startswith("The last full repair began 7.1 days ago")


def test_a_short_grace_is_told_in_hours() -> None:
    sentence = repairs.judge(Ages(MADE, timedelta(hours=10)), None, 50, after(0.25))
    assert sentence is not None
    assert "6.0 hours ago, more than 50 % of gc_grace_seconds (10.0 hours)" in sentence


@pytest.mark.parametrize(
    ("ages", "limits", "copies"),
    [(None, (70, 6), 3), (AGES, (0, 0), 3), (AGES, (70, 6), 1)],
    ids=["no tables", "off", "one copy"],
)
def test_nobody_is_alarmed_where_it_is_turned_off_or_there_is_nothing_to_compare(
    ages: Ages | None, limits: tuple[int, int], copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "find_repair", lambda _: pytest.fail("the database was asked"))
    assert repairs.find_alarms(ages, copies, percent=limits[0], paxos_hours=limits[1]) == []


def find_alarms(monkeypatch: pytest.MonkeyPatch, percent: int = 70, paxos_hours: int = 6, **began: float) -> list[str]:
    """What is said ten days after the keyspace was made, if the last repairs began so many days after that."""
    noted = {kind: SimpleNamespace(started_at=after(days)) for kind, days in began.items()}
    monkeypatch.setattr(records, "find_repair", noted.get)
    monkeypatch.setattr(clocks, "now", lambda: after(10))
    return repairs.find_alarms(AGES, 3, percent=percent, paxos_hours=paxos_hours)


def test_a_repair_of_paxos_is_overdue_after_a_few_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_alarms(monkeypatch, full=9, paxos=9.8) == []
    [sentence] = find_alarms(monkeypatch, full=9, paxos=9.7)
    assert sentence == (
        "The last Paxos repair began 7.2 hours ago, more than PAXOS_REPAIR_ALARM_HOURS (6): run `store-manager cluster "
        "repair --paxos`, or the nodes keep the state of every conditional write, and `system.paxos` grows"
    )


def test_a_full_repair_is_one_of_paxos_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_alarms(monkeypatch, full=9.9) == []
    assert find_alarms(monkeypatch, full=9.9, paxos=1) == []


def test_each_alarm_is_turned_off_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    full, paxos = find_alarms(monkeypatch)
    assert paxos.startswith("There was no Paxos repair, and the keyspace was made 10.0 days ago")
    assert find_alarms(monkeypatch, percent=0) == [paxos]
    assert find_alarms(monkeypatch, paxos_hours=0) == [full]


@pytest.fixture
def overdue(store_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A database that is well, in which the last repair was long ago."""
    database = create_autospec(Database, instance=True)
    database.health.return_value = Health((NodeHealth("127.0.0.1", "dc1", True, 0.0, "s1"),))  # noqa: FBT003
    database.reach.return_value = Reach(Part.ALL, Part.ALL)
    database.ages.return_value = AGES
    database.copies.return_value = 3
    keeper = SimpleNamespace(require=lambda: database)
    monkeypatch.setitem(store_app.extensions, EXTENSION, StoreContext(Settings(), keeper))  # type: ignore[arg-type]
    monkeypatch.setattr(records, "find_repair", lambda _: SimpleNamespace(started_at=MADE))
    return database


@pytest.mark.usefixtures("overdue")
def test_health_is_degraded_and_says_that_a_repair_is_overdue(client: FlaskClient) -> None:
    for path in ("/health", "/health-check"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["status"]) == (200, "degraded")  # type: ignore[index]
        full, paxos = answer.json["reasons"]  # type: ignore[index]
        assert full.startswith("The last full repair began")
        assert paxos.startswith("The last Paxos repair began")


@pytest.mark.usefixtures("overdue")
def test_a_probe_does_not_know_of_repairs(client: FlaskClient) -> None:
    answer: Any = client.get("/readyz").json
    assert (answer["status"], answer["reasons"]) == ("ready", [])


def test_a_keyspace_of_one_copy_needs_no_repair_whatever_the_settings_want(client: FlaskClient, overdue: Any) -> None:
    overdue.copies.return_value = 1
    answer: Any = client.get("/health").json
    assert (answer["status"], answer["reasons"]) == ("ready", [])


def test_an_answer_that_does_not_come_is_no_alarm_of_a_repair(client: FlaskClient, overdue: Any) -> None:
    overdue.ages.side_effect = DatabaseUnavailable("No node answers")
    answer: Any = client.get("/health").json
    assert answer["status"] == "degraded"
    assert answer["reasons"] == ["Nobody knows whether a repair is overdue: No node answers"]
