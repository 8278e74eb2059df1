"""The service waits for its database in the background, and says why meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest.mock import create_autospec

import pytest

from store_manager.database import keepers
from store_manager.database.connections import Database
from store_manager.database.keepers import DatabaseKeeper
from store_manager.errors import DatabaseUnavailable, SchemaBehind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(keepers, "LONGEST_PAUSE_S", 0.001)


def new_database() -> Database:
    database: Database = create_autospec(Database, instance=True)
    return database


def failing_first(*errors: Exception) -> Callable[[], None]:
    """Return a step that raises these, one after the other, and then succeeds."""
    left = list(errors)

    def step() -> None:
        if left:
            raise left.pop(0)

    return step


def until_ready(keeper: DatabaseKeeper) -> Database:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            return keeper.require()
        except StoreError:
            time.sleep(0.001)
    pytest.fail("the database was never ready")


def test_a_database_that_answers_at_once_is_there_when_start_returns() -> None:
    database = new_database()
    keeper = DatabaseKeeper(lambda: database, lambda: None)

    keeper.start()

    assert keeper.require() is database


def test_before_the_database_answers_every_demand_for_it_says_why() -> None:
    def refuse() -> Database:
        raise DatabaseUnavailable("Nobody answers.")

    keeper = DatabaseKeeper(refuse, lambda: None)
    keeper.start()

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="Nobody answers"):
            keeper.require()
    keeper.close()


def test_a_database_that_comes_later_is_found_without_a_restart() -> None:
    database, away = new_database(), failing_first(*(DatabaseUnavailable(f"Away {number}.") for number in range(3)))

    def connect() -> Database:
        away()
        return database

    keeper = DatabaseKeeper(connect, lambda: None)
    keeper.start()

    assert until_ready(keeper) is database


def test_a_schema_that_is_behind_is_waited_for_on_one_connection() -> None:
    database, connected = new_database(), []

    def connect() -> Database:
        connected.append(database)
        return database

    keeper = DatabaseKeeper(connect, failing_first(SchemaBehind("Columns are missing."), SchemaBehind("Still.")))
    keeper.start()

    assert until_ready(keeper) is database
    assert len(connected) == 1


def test_an_attempt_that_fails_in_a_way_that_nobody_expected_is_not_the_last() -> None:
    database, step = new_database(), failing_first(DatabaseUnavailable("Away."), ZeroDivisionError())

    keeper = DatabaseKeeper(lambda: database, step)
    keeper.start()

    assert until_ready(keeper) is database


def test_a_mistake_in_the_code_ends_the_start() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        DatabaseKeeper(new_database, fail).start()


def test_closing_ends_the_connection() -> None:
    database = new_database()
    keeper = DatabaseKeeper(lambda: database, lambda: None)
    keeper.start()

    keeper.close()

    database.close.assert_called_once_with()  # type: ignore[attr-defined]
