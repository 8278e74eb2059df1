"""What happens on one side of a cut: programs that stand beside a node, and reach only what that node reaches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store_manager.lab import groups

if TYPE_CHECKING:
    from store_manager.lab.nodes import Node
    from store_manager.settings import Settings

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 60
PROGRAM = """
import json, sys
from uuid import UUID
from store_manager import dao, logs
from store_manager.database import connections
from store_manager.database.deadlines import deadline
from store_manager.errors import StoreError
from store_manager.services import orders, stocks
from store_manager.services.orders import Item
from store_manager.settings import Settings

def attempt(act):
    with deadline(10):
        try:
            return act()
        except StoreError as error:
            return type(error).__name__

logs.configure("CRITICAL", "console")
values = json.loads(sys.argv[1])
own = Settings(**{name: tuple(one) if isinstance(one, list) else one for name, one in values.items()})
product_id, user_id, wanted = UUID(sys.argv[2]), UUID(sys.argv[3]), int(sys.argv[4])
database = connections.connect(own)
connections.prepare_all(dao.REHEARSALS)
buy = lambda: orders.place(user_id, [Item(product_id, 1)], own.store_currency).head.status
sold = [attempt(buy) for _ in range(wanted)]
print(json.dumps({"available": attempt(lambda: stocks.get(product_id).available), "sold": sold}))
database.close()
"""


def visit(node: Node, settings: Settings, product_id: Any, user_id: Any, *, wanted: int) -> dict[str, Any]:
    """Buy one unit so many times, then read the stock, as a store beside this node does; errors by their names."""
    values = json.dumps(asdict(settings) | {"cassandra_hosts": [node.address]})
    program = [sys.executable, "-c", PROGRAM, values, str(product_id), str(user_id), str(wanted)]
    beside = [sys.executable, groups.__file__, str(node.group), *program]
    done = subprocess.run(beside, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
