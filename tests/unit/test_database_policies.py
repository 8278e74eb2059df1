"""Which node is asked, in which order, and what is sent again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.policies import HostDistance, RetryPolicy, WriteType

from store_manager.database import policies
from store_manager.database.policies import (
    MAX_RETRIES,
    IdempotentRetryPolicy,
    ReplicaPolicy,
    Suspects,
    ThriftySpeculation,
)

READ_TIMEOUT = {"consistency": 6, "required_responses": 2, "received_responses": 2, "data_retrieved": False}
WRITE_TIMEOUT = {
    "consistency": 6,
    "write_type": WriteType.BATCH_LOG,
    "required_responses": 2,
    "received_responses": 1,
}
UNAVAILABLE = {"consistency": 6, "required_replicas": 2, "alive_replicas": 1}


def decide(method: str, query: Any, retry_num: int) -> int:
    """Call the policy as the driver does."""
    policy = IdempotentRetryPolicy()
    if method == "on_request_error":
        decision, consistency = policy.on_request_error(query, 6, error=OSError(), retry_num=retry_num)
    else:
        info = {"on_read_timeout": READ_TIMEOUT, "on_write_timeout": WRITE_TIMEOUT, "on_unavailable": UNAVAILABLE}
        decision, consistency = getattr(policy, method)(query, retry_num=retry_num, **info[method])
    assert consistency is None
    return decision


METHODS = ["on_read_timeout", "on_write_timeout", "on_unavailable", "on_request_error"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_idempotent_is_never_sent_again(method: str) -> None:
    assert decide(method, SimpleNamespace(is_idempotent=False), 0) == RetryPolicy.RETHROW


@pytest.mark.parametrize("method", METHODS)
def test_what_is_idempotent_goes_to_the_next_node_twice(method: str) -> None:
    statement = SimpleNamespace(is_idempotent=True)
    decisions = [decide(method, statement, retry_num) for retry_num in range(MAX_RETRIES + 1)]
    assert decisions == [RetryPolicy.RETRY_NEXT_HOST, RetryPolicy.RETRY_NEXT_HOST, RetryPolicy.RETHROW]


def test_preparing_may_go_to_the_next_node() -> None:
    assert decide("on_request_error", None, 0) == RetryPolicy.RETRY_NEXT_HOST


def further(policy: ThriftySpeculation, times: int = 5) -> list[float]:
    """Ask as the driver does: when the statement is sent, and each time it has gone to one more node."""
    found: list[float] = []
    statement_plan = policy.new_plan("ks", None)
    while len(found) < times and (delay_s := statement_plan.next_execution(None)) >= 0:
        found.append(delay_s)
    return found


def spend_all(policy: ThriftySpeculation) -> None:
    for _ in range(100):
        further(policy)


def test_a_statement_goes_to_two_further_nodes_each_after_the_delay() -> None:
    assert further(ThriftySpeculation(0.25)) == [0.25, 0.25]


def test_when_everything_is_slow_only_a_part_of_the_statements_goes_to_further_nodes() -> None:
    policy = ThriftySpeculation(0.25)
    spend_all(policy)
    sent = sum(len(further(policy)) for _ in range(1000))
    assert 90 <= sent <= 110


def test_statements_that_are_answered_in_time_earn_what_others_need() -> None:
    policy = ThriftySpeculation(0.25)
    spend_all(policy)
    for _ in range(1000):
        policy.new_plan("ks", None).next_execution(None)
    assert sum(len(further(policy)) for _ in range(20)) == 40


@dataclass(eq=False)
class Node:
    """Stands for a host of the driver."""

    name: str
    datacenter: str = "dc1"
    is_up: bool = True


class Ring:
    """Stands for the driver's metadata: one list of replicas, shared by all that ask, as in the driver."""

    def __init__(self, hosts: list[Node], replicas: list[Node]) -> None:
        self.hosts = hosts
        self.replicas = replicas
        self.metadata = self

    def get_replicas(self, _keyspace: str, _key: bytes) -> list[Node]:
        return self.replicas


@pytest.fixture
def ring() -> Ring:
    hosts = [Node(name) for name in "abcde"]
    return Ring(hosts, hosts[:3])


def make_policy(ring: Ring, suspects: Suspects, *, spread: bool) -> ReplicaPolicy:
    policy = ReplicaPolicy("dc1", suspects, spread=spread)
    policy.populate(ring, ring.hosts)
    return policy


def plan(policy: ReplicaPolicy, routing_key: bytes | None = b"key") -> str:
    query = SimpleNamespace(routing_key=routing_key, keyspace="ks")
    return "".join(host.name for host in policy.make_query_plan(None, query))


def test_a_fixed_order_asks_the_replicas_in_their_order_every_time(ring: Ring) -> None:
    policy = make_policy(ring, Suspects(), spread=False)
    assert {plan(policy)[:3] for _ in range(20)} == {"abc"}


def test_spreading_asks_each_replica_first_at_times_and_others_only_after_them(ring: Ring) -> None:
    policy = make_policy(ring, Suspects(), spread=True)
    plans = [plan(policy) for _ in range(200)]
    assert {one[0] for one in plans} == set("abc")
    assert {"".join(sorted(one[:3])) for one in plans} == {"abc"}
    assert all(sorted(one) == list("abcde") for one in plans)


def test_spreading_leaves_the_fixed_order_of_others_alone(ring: Ring) -> None:
    fixed, spreading = (make_policy(ring, Suspects(), spread=spread) for spread in (False, True))
    for _ in range(50):
        plan(spreading)
        assert plan(fixed)[:3] == "abc"


def test_a_suspect_is_asked_last_until_it_has_answered_and_for_a_moment_more(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspects, now = Suspects(), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    policy = make_policy(ring, suspects, spread=False)
    assert suspects.add(ring.hosts[0])
    assert not suspects.add(ring.hosts[0]), "it is suspected already"
    now[0] += 1000
    assert plan(policy)[:2] == "bc"
    assert plan(policy)[-1] == "a"
    suspects.answered(ring.hosts[0])
    assert plan(policy)[-1] == "a"
    now[0] += policies.SUSPICION_S
    assert plan(policy)[:3] == "abc"


def test_a_replica_that_is_down_is_left_out(ring: Ring) -> None:
    policy = make_policy(ring, Suspects(), spread=False)
    ring.hosts[0].is_up = False
    policy.on_down(ring.hosts[0])
    assert "a" not in plan(policy)


def test_nodes_of_another_data_centre_are_not_asked(ring: Ring) -> None:
    ring.hosts[1].datacenter = ring.hosts[4].datacenter = "dc2"
    policy = make_policy(ring, Suspects(), spread=False)
    assert sorted(plan(policy)) == list("acd")
    assert policy.distance(ring.hosts[4]) == HostDistance.IGNORED


def test_without_a_routing_key_every_node_is_asked_in_turn(ring: Ring) -> None:
    policy = make_policy(ring, Suspects(), spread=False)
    assert {plan(policy, routing_key=None)[0] for _ in range(10)} == set("abcde")
