"""To add a column is one line in one Model: the plan has it, the API accepts and answers it, Swagger documents it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from store_manager.settings import Settings, write_value

if TYPE_CHECKING:
    from store_manager.database.connections import Database

PACKAGE = Path(__file__).parents[2] / "store_manager"

MARK = '    created_at = shown(columns.DateTime(), "When it was created, UTC")\n'
LINE = '    weight_g = writable(columns.Integer(), "Weight in grams", example=85, minimum=0)\n'

SCRIPT = """
import json

from store_manager import app, settings
from store_manager.database import connections
from store_manager.schema import plans, syncs

loaded = settings.load()
database = connections.connect(loaded)
planned = [step.cql for step in plans.plan(database, loaded).steps]
syncs.sync(database, loaded)
of_the_sync = set(database.session.prepared_late)
client = app.create_app(loaded, database).test_client()
definitions = client.get("/swagger.json").json["definitions"]
created = client.post("/products", json={"sku": "one-line", "name": "Mouse", "price": 1, "weight_g": 85})
address = created.headers["Location"]
print(json.dumps({
    "planned": planned,
    "planned_again": [step.cql for step in plans.plan(database, loaded).steps],
    "documented": [name for name, one in definitions.items() if "weight_g" in one["properties"]],
    "created": created.json,
    "read": client.get(address).json,
    "changed": client.patch(address, json={"weight_g": None}).json,
    "refused": client.patch(address, json={"weight_g": -1}).json["errors"],
    "prepared_late": [shape for shape in database.session.prepared_late if shape not in of_the_sync],
}))
database.close()
"""


def test_a_column_that_is_added_by_one_line_is_planned_stored_accepted_answered_and_documented(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "store_manager", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations").mkdir()
    products = tmp_path / "store_manager" / "models" / "products.py"
    text = products.read_text(encoding="utf-8")
    assert text.count(MARK) == 1
    products.write_text(text.replace(MARK, LINE + MARK), encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment_of(settings), capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    seen = json.loads(ran.stdout.decode().splitlines()[-1])

    assert [cql for cql in seen["planned"] if "weight_g" in cql] == [
        f'ALTER TABLE {database.keyspace}.products ADD IF NOT EXISTS "weight_g" int'
    ]
    assert not [cql for cql in seen["planned_again"] if "weight_g" in cql]
    assert set(seen["documented"]) == {"Product", "ProductNew", "ProductChange"}
    assert seen["created"]["weight_g"] == seen["read"]["weight_g"] == 85
    assert seen["changed"]["weight_g"] is None
    assert seen["prepared_late"] == []
    assert seen["refused"] == [{"param": "weight_g", "message": "must be at least 0"}]


def environment_of(settings: Settings) -> dict[str, str]:
    values = {name.upper(): write_value(getattr(settings, name)) for name in Settings.__dataclass_fields__}
    return {**os.environ, **values}
