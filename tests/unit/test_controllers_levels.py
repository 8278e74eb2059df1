"""The consistency level of a request: which one it has, who may choose it, and what the answer says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec
from uuid import UUID

import pytest
from cassandra import ConsistencyLevel

from store_manager import app as composition
from store_manager.database import levels, tallies
from store_manager.database.connections import Database
from store_manager.database.health import Health, NodeHealth, Part, Reach
from store_manager.database.levels import Reading
from store_manager.database.statements import Kind
from store_manager.errors import OrderNotFound, ProductNotFound, StockNotFound
from store_manager.services import orders, products, reports, stocks
from store_manager.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

ID = UUID(int=7)
NODE = NodeHealth("10.0.0.1", "dc1", up=True, clock_skew_s=0.0, schema_version="v")


class Asked:
    """Stands for the services: remembers how each was to read, and lets statements be counted."""

    def __init__(self) -> None:
        self.reading: list[Reading] = []
        self.answered: list[tallies.Answered] = []
        self.attempts = 1

    def find(self, error: type[Exception]) -> Any:
        def find(*_: Any, **__: Any) -> Any:
            self.reading.append(levels.at_hand())
            for one in self.answered:
                tallies.count(0.001, one, attempts=self.attempts)
            raise error("nothing there")

        return find


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    for service, error in ((products, ProductNotFound), (stocks, StockNotFound), (orders, OrderNotFound)):
        monkeypatch.setattr(service, "get", asked.find(error))
    monkeypatch.setattr(stocks, "overview", asked.find(StockNotFound))
    monkeypatch.setattr(reports, "find_best_sellers", asked.find(StockNotFound), raising=False)
    return asked


@pytest.fixture
def database() -> Any:
    return create_autospec(Database, instance=True)


def make_app(monkeypatch: pytest.MonkeyPatch, database: Any, **values: Any) -> Flask:
    monkeypatch.setattr(composition, "prepare_all", lambda _: None)
    return composition.create_app(Settings(**values), database)


def test_each_kind_of_read_has_a_level_of_its_own_and_only_catalogue_and_stock_may_be_stale(
    monkeypatch: pytest.MonkeyPatch, database: Any, asked: Asked
) -> None:
    app = make_app(
        monkeypatch,
        database,
        cassandra_catalogue_consistency="LOCAL_ONE",
        cassandra_stock_consistency="TWO",
        cassandra_read_consistency="ALL",
    )
    for path in (f"/products/{ID}", f"/stocks/{ID}", "/stocks/reports/overview-stocks", f"/orders/{ID}"):
        assert app.test_client().get(path).status_code == 404
    assert asked.reading == [
        Reading(ConsistencyLevel.LOCAL_ONE, may_be_stale=True),
        Reading(ConsistencyLevel.TWO, may_be_stale=True),
        Reading(ConsistencyLevel.TWO, may_be_stale=True),
        Reading(ConsistencyLevel.ALL, may_be_stale=False),
    ]
    assert levels.at_hand() == Reading(), "nothing is left of it afterwards"


def test_stale_reads_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, database: Any, asked: Asked) -> None:
    app = make_app(monkeypatch, database, cassandra_stale_reads=False)
    app.test_client().get(f"/products/{ID}")
    assert asked.reading == [Reading(ConsistencyLevel.LOCAL_QUORUM, may_be_stale=False)]


def test_a_caller_who_asks_for_a_level_gets_it_or_nothing(client: Any, asked: Asked) -> None:
    client.get(f"/products/{ID}", headers={"Consistency-Level": "ALL"})
    assert asked.reading == [Reading(ConsistencyLevel.ALL, may_be_stale=False)]


@pytest.mark.parametrize("level", ["", "SERIAL", "LOCAL_SERIAL", "ANY", "EACH_QUORUM", "all", "ONE, TWO", "\xff"])
def test_an_unknown_level_is_refused_beside_all_else_that_is_wrong(client: Any, asked: Asked, level: str) -> None:
    refused = client.get("/products?limit=0", headers={"Consistency-Level": level})
    assert refused.status_code == 400
    assert [error["param"] for error in refused.json["errors"]] == ["limit", "Consistency-Level"]
    assert asked.reading == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/orders"), ("DELETE", f"/products/{ID}"), ("GET", "/livez")])
def test_only_a_get_of_what_is_stored_takes_a_level(client: Any, method: str, path: str) -> None:
    refused = client.open(path, method=method, json={}, headers={"Consistency-Level": "ONE"})
    assert refused.status_code == 400
    assert "Consistency-Level" in [error["param"] for error in refused.json["errors"]]


def test_the_answer_says_who_answered_at_which_levels_and_after_how_many_attempts(client: Any, asked: Asked) -> None:
    asked.answered = [
        tallies.Answered("10.0.0.2", Kind.READ, "LOCAL_QUORUM"),
        tallies.Answered("10.0.0.1", Kind.CONDITIONAL, "LOCAL_SERIAL"),
        tallies.Answered("10.0.0.2", Kind.READ, "LOCAL_QUORUM"),
    ]
    asked.attempts = 3
    headers = client.get(f"/products/{ID}").headers
    assert headers["Coordinator-Node"] == "10.0.0.2, 10.0.0.1"
    assert headers["Consistency-Level"] == "LOCAL_QUORUM, LOCAL_SERIAL"
    assert headers["Coordinator-Attempts"] == "3"
    assert "Possibly-Stale" not in headers


def test_the_answer_says_that_it_may_be_stale(client: Any, asked: Asked) -> None:
    asked.answered = [tallies.Answered("10.0.0.2", Kind.READ, "LOCAL_ONE", may_miss=True)]
    assert client.get(f"/products/{ID}").headers["Possibly-Stale"] == "true"


def test_what_asked_no_node_names_none(client: Any) -> None:
    assert "Coordinator-Node" not in client.get("/livez").headers


def test_the_figures_count_what_each_coordinator_answered_by_what_it_was(client: Any, asked: Asked) -> None:
    kinds = (Kind.READ, Kind.READ, Kind.WRITE, Kind.CONDITIONAL)
    asked.answered = [tallies.Answered("10.9.9.9", kind, "LOCAL_QUORUM") for kind in kinds]
    client.get(f"/products/{ID}")
    client.get(f"/products/{ID}")
    figures = client.get("/metrics").text
    for kind, answered in (("read", 4), ("write", 2), ("conditional", 2)):
        assert f'store_cql_coordinated_total{{coordinator="10.9.9.9",kind="{kind}"}} {answered}.0' in figures


@pytest.mark.parametrize(
    ("reach", "status", "reads", "writes"),
    [
        (Reach(Part.ALL, Part.ALL), (200, "ready"), "all", "all"),
        (Reach(Part.ALL, Part.NONE), (200, "degraded"), "all", "none"),
        (Reach(Part.SOME, Part.SOME), (200, "degraded"), "some", "some"),
        (Reach(Part.NONE, Part.NONE), (503, "unavailable"), "none", "none"),
    ],
)
def test_the_store_is_ready_for_as_long_as_anything_can_be_read_and_says_what_can_not(
    monkeypatch: pytest.MonkeyPatch, database: Any, reach: Reach, status: tuple[int, str], reads: str, writes: str
) -> None:
    database.health.return_value = Health((NODE,))
    database.reach.return_value = reach
    answer: Any = make_app(monkeypatch, database).test_client().get("/readyz")
    assert (answer.status_code, answer.json["status"]) == status
    assert (answer.json["reads"], answer.json["writes"]) == (reads, writes)
    assert len(answer.json["reasons"]) == (reads != "all") + (writes != "all")


@pytest.mark.parametrize(
    ("reading", "exact", "said"),
    [
        (Part.ALL, Part.NONE, ["Orders and users can't be read: too few copies can be reached for THIS_LEVEL"]),
        (Part.ALL, Part.SOME, ["Some orders and users can't be read: too few copies can be reached for THIS_LEVEL"]),
        (Part.ALL, Part.ALL, []),
        (Part.SOME, Part.SOME, ["Some rows can't be read: too few copies can be reached"]),
    ],
)
def test_what_can_not_be_read_while_the_rest_is_read_as_it_was_is_said(
    monkeypatch: pytest.MonkeyPatch, database: Any, reading: Part, exact: Part, said: list[str]
) -> None:
    database.health.return_value = Health((NODE,))
    database.reach.return_value = Reach(reading, Part.ALL, (("orders and users", exact, "THIS_LEVEL"),))
    answer: Any = make_app(monkeypatch, database).test_client().get("/readyz")
    assert answer.json["reads"] == reading.name.lower()
    assert answer.json["reasons"] == said
