"""What is made of the samples of a load while nodes fail: figures, bars, recovery, a table for documents."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cassandra.query import UNSET_VALUE

from benchmarks import failover, loads
from benchmarks.clients import NoAnswerError, Reply
from benchmarks.loads import ORDER, READ, Customers, Load, Sample, Shop, sum_up
from benchmarks.plain import PlainSession

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 20.0
OK = Reply(201, {})
UNKNOWN = Reply(503, {"code": "OUTCOME_UNKNOWN"})
REFUSED = Reply(503, {"code": "DATABASE_UNAVAILABLE"})


class FakeServer:
    """Stands for a store: gives these answers to orders, the last one for ever, and reads what is asked."""

    def __init__(self, *answers: Reply | NoAnswerError) -> None:
        self.answers = list(answers)
        self.keys: list[str] = []

    def send(self, method: str, _path: str, _body: Any, headers: dict[str, str]) -> Reply:
        if method == "GET":
            return Reply(200, {}, stale=True)
        self.keys.append(headers["Idempotency-Key"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, NoAnswerError):
            raise answer
        return answer


def customers_of(server: Any, monkeypatch: pytest.MonkeyPatch, orders_of_all: float) -> Customers:
    monkeypatch.setattr(loads, "ORDERS_OF_ALL", orders_of_all)
    monkeypatch.setattr(loads, "PAUSE_S", 0.0)
    return Customers(server, Shop(("p",), ("u",)), "seed")


@pytest.mark.parametrize("lost", [UNKNOWN, NoAnswerError("ReadTimeoutError", was_sent=True)])
def test_an_order_without_an_outcome_is_no_failure_and_is_settled_under_its_key(
    monkeypatch: pytest.MonkeyPatch, lost: Any
) -> None:
    server = FakeServer(lost, UNKNOWN, OK)
    customers = customers_of(server, monkeypatch, orders_of_all=1.0)
    sample = customers.ask(0.0)
    assert (sample.kind, sample.unknown, sample.settled) == (ORDER, True, False)
    assert customers.settle(sample).settled
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1


def test_an_order_that_is_never_settled_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "SETTLING_S", 0.01)
    customers = customers_of(FakeServer(UNKNOWN), monkeypatch, orders_of_all=1.0)
    assert not customers.settle(customers.ask(0.0)).settled


@pytest.mark.parametrize("refusal", [REFUSED, NoAnswerError("NOT_SENT", was_sent=False)])
def test_an_order_that_certainly_did_not_happen_is_a_failure(monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    sample = customers_of(FakeServer(refusal), monkeypatch, orders_of_all=1.0).ask(0.0)
    assert (bool(sample.code), sample.unknown, sample.settled) == (True, False, True)


def test_a_load_sends_reads_and_orders_and_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    customers = customers_of(FakeServer(UNKNOWN, OK), monkeypatch, orders_of_all=0.5)
    load = Load(customers, rate=2000.0)
    load.start()
    end_s = time.monotonic() + PATIENCE_S
    while len(load.samples) < 50 and time.monotonic() < end_s:
        time.sleep(0.001)
    load.stop()
    assert {sample.kind for sample in load.samples} == {READ, ORDER}
    assert all(sample.settled for sample in load.samples)
    assert all(sample.stale for sample in load.samples if sample.kind == READ)


def test_figures_are_those_of_a_kind_and_a_phase() -> None:
    samples = [
        Sample(READ, 1.0, 0.010),
        Sample(READ, 2.0, 0.030, stale=True),
        Sample(READ, 3.0, 0.500, "DATABASE_UNAVAILABLE"),
        Sample(READ, 9.0, 7.0),
        Sample(ORDER, 2.0, 0.2, "OUTCOME_UNKNOWN", unknown=True, settled=False),
    ]
    before: Callable[[float], bool] = lambda due_s: due_s < 5  # noqa: E731 - as the benchmark gives it
    reads, orders = sum_up(samples, READ, before), sum_up(samples, ORDER, before)
    assert (reads.requests, reads.failures, reads.stale, reads.unknown) == (3, 1, 1, 0)
    assert (reads.p50_ms, reads.worst_ms) == (30.0, 500.0)
    assert (orders.requests, orders.failures, orders.unknown, orders.unsettled) == (1, 0, 1, 1)
    assert sum_up(samples, ORDER, lambda _: False).worst_ms == 0


@pytest.mark.parametrize(
    ("wanted", "lack", "chosen"),
    [
        (["restart", "kill"], "root", ["kill", "restart"]),
        (["cut"], "root", ["cut"]),
        (["all"], None, [*failover.FAULTS]),
        (["kill", "all"], "root", [fault for fault in failover.FAULTS if fault != "cut"]),
    ],
)
def test_all_faults_are_chosen_by_one_word_but_for_a_cut_that_can_t_be_made(
    wanted: list[str], lack: str | None, chosen: list[str]
) -> None:
    assert failover.choose(wanted, lack=lack) == chosen


def test_a_node_that_joins_for_good_is_no_part_of_what_other_faults_find() -> None:
    assert [*failover.FAULTS][-1] == "join"


def row(**values: Any) -> dict[str, Any]:
    usual = {
        "side": "store",
        "fault": "kill",
        "kind": ORDER,
        "phase": "during",
        "recovery_s": None,
        "wrong": 0,
        "requests": 100,
        "failures": 0,
        "stale": 0,
        "unknown": 3,
        "unsettled": 0,
        "p50_ms": 10.0,
        "p99_ms": 100.0,
        "worst_ms": 900.0,
    }
    return usual | values


@pytest.mark.parametrize(
    ("values", "missed"),
    [
        ({}, 0),
        ({"failures": 1}, 1),
        ({"unsettled": 1}, 1),
        ({"worst_ms": 1001.0}, 1),
        ({"wrong": 1}, 1),
        ({"side": "plain", "failures": 9, "worst_ms": 9000.0}, 0),
        ({"fault": "two", "failures": 50, "worst_ms": 5000.0, "recovery_s": 4.9}, 0),
        ({"fault": "two", "recovery_s": 5.1}, 1),
        ({"fault": "two", "recovery_s": None}, 1),
    ],
)
def test_a_row_of_the_store_that_misses_a_bar_is_named(values: dict[str, Any], missed: int) -> None:
    assert len(failover.breaches([row(**values)], timed=True)) == missed


def test_times_are_only_judged_where_they_say_something() -> None:
    assert failover.breaches([row(worst_ms=5000.0)], timed=False) == []
    assert failover.breaches([row(failures=1)], timed=False) != []


def test_writes_have_recovered_when_the_first_of_an_unbroken_row_of_successes_was_due() -> None:
    samples = [
        Sample(ORDER, 9.0, 0.1),
        Sample(ORDER, 11.0, 0.1, "DATABASE_UNAVAILABLE"),
        Sample(ORDER, 12.0, 0.1),
        Sample(ORDER, 12.5, 0.1, "OUTCOME_UNKNOWN", unknown=True),
        Sample(READ, 13.5, 0.1, "DATABASE_UNAVAILABLE"),
        Sample(ORDER, 14.0, 0.1),
        Sample(ORDER, 15.0, 0.1),
    ]
    assert failover._recovery_s(samples, returned_s=10.0) == 4.0
    assert failover._recovery_s(samples[:4], returned_s=10.0) is None
    assert failover._recovery_s(samples, returned_s=None) is None


def test_the_table_for_documents_has_all_runs_of_a_fault_in_one_row() -> None:
    rows = [row(phase=phase, p50_ms=p50) for p50 in (10.0, 30.0, 20.0) for phase in failover.PHASES]
    *_, last = failover.describe_as_markdown(rows).splitlines()
    assert last.startswith("| store | kill | orders | 3 | 900 | 0 | 27 | 0 | 20 / 100 / 900 |")


def test_the_plain_session_sends_what_it_is_given_but_for_values_that_only_a_prepared_statement_can_leave_out() -> None:
    sent: list[Any] = []
    raw = SimpleNamespace(execute=lambda *args, **options: sent.append((args, options)), keyspace="ks")
    session = PlainSession(raw)
    session.execute("INSERT", {"0": UNSET_VALUE, "1": 7}, timeout=3)
    assert sent == [(("INSERT", {"0": None, "1": 7}), {"timeout": 3})]
    assert session.keyspace == "ks"
