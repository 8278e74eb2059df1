"""Three nodes that lose sight of each other, or of one: what goes on meanwhile, and how they agree again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import shops
import sides
from conftest import Place, settings_for, store_keyspace

from store_manager.cluster import statuses
from store_manager.lab import cuts
from store_manager.services import audit, recovery, stocks
from store_manager.services.findings import Finding, Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

PATIENCE_S = 60.0
INITIAL, SOLD = 10, 3
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def settings(three_nodes: Cluster) -> Settings:
    return settings_for(Place(tuple(three_nodes.addresses)), replicas=3)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings, kept=True) as database:
        yield database


def wait_until(holds: Callable[[], Any], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.2)


@contextmanager
def cut(cluster: Cluster, sides_of_it: str) -> Iterator[None]:
    """Cut the cluster in two; whatever happens, it is whole again afterwards."""
    cluster.cut(sides_of_it)
    try:
        yield
    finally:
        cluster.heal()


@pytest.mark.usefixtures("database")
@pytest.mark.skipif(cuts.lacks() is not None, reason=f"a cluster can't be cut in two here: {cuts.lacks()}")
def test_in_a_cluster_cut_in_two_only_the_majority_sells_and_both_sides_agree_once_it_is_healed(
    three_nodes: Cluster, settings: Settings
) -> None:
    product_id, user_id = shops.new_product(INITIAL).product_id, shops.new_user().user_id
    many, few = three_nodes.node(1), three_nodes.node(3)
    stale = replace(settings, cassandra_read_consistency="ONE")
    with cut(three_nodes, "1,2/3"):
        majority = sides.visit(many, settings, product_id, user_id, wanted=SOLD)
        minority = sides.visit(few, settings, product_id, user_id, wanted=1)
        at_one = sides.visit(few, stale, product_id, user_id, wanted=0)
    assert majority == {"sold": ["CONFIRMED"] * SOLD, "available": INITIAL - SOLD}
    assert minority["sold"][0] in {"OutcomeUnknown", "DatabaseUnavailable", "Contended", "OrderGivenUp"}
    assert minority["available"] == "DatabaseUnavailable"
    assert at_one["available"] == INITIAL, "what the majority sold has not come through"
    for node in three_nodes.nodes:
        seen = sides.visit(node, settings, product_id, user_id, wanted=0)
        assert seen["available"] == INITIAL - SOLD, node.address
    # What the minority was asked for is nobody's any more: recovery gives it up, as it does by itself after a while.
    assert all(one.finished for one in recovery.recover(recovery.Limits(AT_ONCE, None)))
    found = [event for event in audit.run(audit.plan(Patience(AT_ONCE))) if isinstance(event, Finding)]
    assert found == []
    assert stocks.get(product_id).available == INITIAL - SOLD


def test_what_a_stopped_node_misses_is_kept_for_it_and_brought_when_it_is_back(
    three_nodes: Cluster, database: Database
) -> None:
    three_nodes.stop(3)
    try:
        product_ids = [shops.new_product(1).product_id for _ in range(3)]
        away = statuses.ask(database).nodes[2]
        assert (away.state, away.schema_version) == ("DN", None)
    finally:
        three_nodes.start(3)
    assert product_ids
    wait_until(lambda: [node.state for node in statuses.ask(database).nodes] == ["UN"] * 3, "all are up")
