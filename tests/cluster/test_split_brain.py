"""A cluster cut in two: only the side that has a majority sells, and both agree once it is healed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import shops
import sides
from conftest import Place, settings_for, store_keyspace

from store_manager.lab import cuts
from store_manager.services import audit, recovery, stocks
from store_manager.services.findings import Finding, Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

INITIAL, SOLD = 10, 3
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def settings(three_nodes: Cluster) -> Settings:
    return settings_for(Place(tuple(three_nodes.addresses)), replicas=3)


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    with store_keyspace(settings, kept=True) as database:
        yield database


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
        assert three_nodes.cut_sides == "1,2/3"
        majority = sides.visit(many, settings, product_id, user_id, wanted=SOLD)
        minority = sides.visit(few, settings, product_id, user_id, wanted=1)
        at_one = sides.visit(few, stale, product_id, user_id, wanted=0)
    assert three_nodes.cut_sides is None
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
