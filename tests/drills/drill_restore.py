"""A restore, as docs/how-to/restore.md says it, on three real nodes: what is restored together agrees again.

No test of `make test`, which does not find it by its name: `make drill`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import keyspaces
import operators
import pytest
import shops
from conftest import Place, lab_cluster, settings_for

from store_manager import dao
from store_manager.dao import scans
from store_manager.database import connections
from store_manager.database.deadlines import deadline
from store_manager.errors import OrderNotFound
from store_manager.schema.plans import plan
from store_manager.schema.syncs import sync
from store_manager.services import audit, orders, recovery, stocks
from store_manager.services.findings import Code, Finding, Patience
from store_manager.services.orders import Item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from store_manager.database.connections import Database
    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

ROOT = Path(__file__).parent.parent.parent
NETWORK = "127.0.73"
SNAPSHOT = "drill"
AT_ONCE = timedelta(0)
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with lab_cluster("drill-restore", 3, NETWORK) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster: Cluster) -> Settings:
    return settings_for(Place(tuple(cluster.addresses)), replicas=3)


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    keyspaces.forget_buckets()  # a service that is stopped and started anew knows nothing of what was there before
    with closing(connections.connect(settings)) as database:
        sync(database, settings)
        connections.prepare_all((*dao.REHEARSALS, scans.rehearse))
        yield database


def test_what_is_restored_together_is_as_it_was_and_what_is_restored_alone_is_not(
    cluster: Cluster, settings: Settings
) -> None:
    with opened(settings):
        user_id = shops.new_user().user_id
        product_ids = [shops.new_product(10).product_id for _ in range(5)]
        kept = [sell(user_id, product_id) for product_id in product_ids]
        before = balances(product_ids)
        operators.run(cluster, settings, "snapshot", SNAPSHOT)
        later = [sell(user_id, product_id) for product_id in product_ids]
        orders.cancel(kept[0])

    restore_alone(cluster, settings, "stocks")
    with opened(settings):
        assert {one.code for one in breaches()} >= {Code.RESERVATION_WRONG, Code.RESERVATION_DEAD}

    restore_all(cluster, settings)
    with opened(settings) as database:
        assert plan(database, settings).is_in_line
        assert list(recovery.recover(recovery.Limits(AT_ONCE, None))) == []
        assert breaches() == []
        assert balances(product_ids) == before
        assert [orders.get(order_id).head.status for order_id in kept] == ["CONFIRMED"] * len(kept)
        for order_id in later:
            with pytest.raises(OrderNotFound):
                orders.get(order_id)
        sell(user_id, product_ids[0])
        assert breaches() == []


def sell(user_id: UUID, product_id: UUID) -> UUID:
    with deadline(shops.PATIENCE_S):
        order_id: UUID = orders.place(user_id, [Item(product_id, 1)], shops.CURRENCY).head.order_id
    return order_id


def balances(product_ids: list[UUID]) -> list[tuple[int, int]]:
    found = [stocks.get(product_id) for product_id in product_ids]
    return [(stock.on_hand, stock.reserved) for stock in found]


def breaches() -> list[Finding]:
    return [event for event in audit.run(audit.plan(Patience(AT_ONCE))) if isinstance(event, Finding)]


def restore_all(cluster: Cluster, settings: Settings) -> None:
    """Run what the document shows, on every node."""
    document = (ROOT / "docs/how-to/restore.md").read_text(encoding="utf-8")
    [script] = re.findall(r"```bash\n(.*?)```", document, re.DOTALL)
    with standing_still(cluster):
        for node in cluster.nodes:
            names = {"DATA": str(node.directory), "KEYSPACE": settings.cassandra_keyspace, "SNAPSHOT": SNAPSHOT}
            subprocess.run(["bash", "-c", script], env=os.environ | names, check=True, timeout=TIMEOUT_S)


def restore_alone(cluster: Cluster, settings: Settings, table: str) -> None:
    """Do what the document warns of."""
    with standing_still(cluster):
        for node in cluster.nodes:
            [directory] = (node.directory / "data" / settings.cassandra_keyspace).glob(f"{table}-*")
            for file in directory.glob("*-big-*"):
                file.unlink()
            for file in (directory / "snapshots" / SNAPSHOT).glob("*-big-*"):
                shutil.copy(file, directory)


@contextmanager
def standing_still(cluster: Cluster) -> Iterator[None]:
    for node in cluster.nodes:
        cluster.stop(node.number)
    yield
    cluster.up()
