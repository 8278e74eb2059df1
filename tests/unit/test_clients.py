"""The clients of benchmarks: what they write down, and when they ask again."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import clients
from benchmarks.clients import Client, NoAnswerError, Reply, order_id_of
from benchmarks.histories import Attempt, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, FAIL, UNKNOWN = Outcome.OK, Outcome.FAIL, Outcome.UNKNOWN
ITEMS = [("mouse", 2)]
LOST, NOT_SENT = NoAnswerError("LOST", was_sent=True), NoAnswerError("NOT_SENT", was_sent=False)


def refused(status: int, code: str) -> Reply:
    return Reply(status, {"code": code}, retry_after_s=0.001)


PLACED = Reply(
    201, {"status": "CONFIRMED", "lines": [{"product_id": "mouse", "quantity": 2}], "history": []}, version=2
)
MOVED = Reply(201, {"version": 3, "movement_id": "m", "delta": 1, "reserved_delta": 0})


class Scripted:
    """Two servers that give these answers, whichever of them is asked; who was asked, and under which key, is kept."""

    def __init__(self, answers: Iterable[Reply | NoAnswerError]) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[str, str | None]] = []

    def servers(self) -> list[clients.Server]:
        return [_Server(self, name) for name in ("one", "two")]

    def answer(self, name: str, headers: dict[str, str]) -> Reply:
        self.asked.append((name, headers.get("Idempotency-Key")))
        answer = next(self._answers)
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer


class _Server:
    def __init__(self, script: Scripted, name: str) -> None:
        self._script = script
        self._name = name

    def send(self, _method: str, _path: str, _body: Any, headers: dict[str, str]) -> Reply:
        return self._script.answer(self._name, headers)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "PAUSE_S", 0.001)


def client_of(*answers: Reply | NoAnswerError, patience_s: float = 60.0) -> tuple[Client, Scripted, list[Attempt]]:
    script, told = Scripted(answers), list[Attempt]()
    return Client(script.servers(), told.append, Random(1), patience_s=patience_s), script, told


@pytest.mark.parametrize(
    "unknown",
    [LOST, refused(503, "OUTCOME_UNKNOWN"), refused(409, "IDEMPOTENCY_KEY_IN_USE"), refused(500, "INTERNAL_ERROR")],
)
def test_what_is_left_unknown_is_sent_again_under_its_key_to_the_other_server(unknown: Reply | NoAnswerError) -> None:
    client, script, told = client_of(unknown, unknown, PLACED)
    placed = client.place("user", ITEMS)
    assert [attempt.outcome for attempt in told] == [UNKNOWN, UNKNOWN, OK]
    assert len({attempt.operation for attempt in told}) == len({key for _, key in script.asked}) == 1
    assert [name for name, _ in script.asked] in (["one", "two", "one"], ["two", "one", "two"])
    assert placed.asked["order_id"] == order_id_of(placed.operation)
    assert placed.told["lines"] == (("mouse", 2),)


@pytest.mark.parametrize("passing", [NOT_SENT, refused(503, "DATABASE_UNAVAILABLE"), refused(503, "CONTENDED")])
def test_what_certainly_was_not_done_is_a_failure_and_sent_again(passing: Reply | NoAnswerError) -> None:
    client, _, told = client_of(passing, MOVED)
    client.adjust("mouse", 1, "FOUND")
    assert [attempt.outcome for attempt in told] == [FAIL, OK]


@pytest.mark.parametrize("code", ["STOCK_SHORT", "ORDER_STATE_CONFLICT", "IDEMPOTENCY_KEY_SPENT", "ORDER_GIVEN_UP"])
def test_a_refusal_is_taken_as_the_answer(code: str) -> None:
    client, script, told = client_of(refused(409, code))
    assert client.place("user", ITEMS).code == code
    assert [attempt.outcome for attempt in told] == [FAIL]
    assert len(script.asked) == 1


def test_patience_ends() -> None:
    client, script, _ = client_of(LOST, patience_s=0.0)
    assert client.cancel("order").outcome is UNKNOWN
    assert len(script.asked) == 1


def test_what_has_no_key_is_sent_once() -> None:
    client, script, _ = client_of(LOST)
    assert client.count("mouse", 5, 1).outcome is UNKNOWN
    assert script.asked == [(script.asked[0][0], None)]


def test_an_answer_that_says_that_it_may_be_stale_claims_nothing() -> None:
    stock = {"version": 3, "quantity": 5, "reserved": 0, "available": 5}
    client, _, _ = client_of(Reply(200, stock, version=3, stale=True), Reply(200, stock, version=3))
    assert (client.read_stock("mouse").code, client.read_stock("mouse").told) == ("POSSIBLY_STALE", stock)
