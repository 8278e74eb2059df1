"""The how-to "deploy a schema change", followed to the letter: its edits are made, and its commands run, in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from documents import read_blocks

from store_manager.database.connections import Database, open_database
from store_manager.settings import Settings, write_value

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "deploy-a-schema-change.md"
ABOVE = '    created_at = shown(columns.DateTime(), "When it was created, UTC")\n'
LAST_OF_MODELS = "    UserListingDirectory,\n)\n"
PRODUCTS = 5


@dataclass
class Reader:
    """Somebody who does what the page says, in a checkout of their own."""

    checkout: Path
    settings: Settings

    @property
    def products(self) -> Path:
        return self.checkout / "store_manager" / "models" / "products.py"

    def run(self, commands: str) -> str:
        """Type a block of commands, with `store-manager` on the path as in an activated environment."""
        values = {name.upper(): write_value(getattr(self.settings, name)) for name in Settings.__dataclass_fields__}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.checkout,
            env={**os.environ, **values, "PATH": path, "PYTHONPATH": str(self.checkout)},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            text=True,
        )
        assert ran.returncode == 0, f"{commands}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1
        path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture
def reader(settings: Settings, tmp_path: Path) -> Reader:
    for folder in ("store_manager", "migrations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Reader(tmp_path, replace(settings, cassandra_keyspace=f"test_how_to_{uuid.uuid4().hex[:12]}"))


@pytest.fixture
def cluster(reader: Reader) -> Iterator[Database]:
    database = open_database(reader.settings)
    yield database
    database.raw.execute(f"DROP KEYSPACE IF EXISTS {reader.settings.cassandra_keyspace}")
    database.close()


def test_whoever_follows_the_page_adds_a_column_moves_its_rows_and_drops_it(reader: Reader, cluster: Database) -> None:
    reader.run("store-manager schema sync")
    blocks = read_blocks(PAGE)
    line, model, migration = (text for kind, text in blocks if kind == "python")
    told: list[str] = []
    for kind, text in blocks:
        if text == line:
            reader.edit(reader.products, ABOVE, line + ABOVE)
        elif text == model:
            reader.products.write_text(reader.products.read_text(encoding="utf-8") + "\n\n" + model, encoding="utf-8")
            models = reader.checkout / "store_manager" / "models" / "__init__.py"
            reader.edit(
                models, "    ProductListingDirectory,\n)\n", "    ProductListingDirectory,\n    ProductWeight,\n)\n"
            )
            reader.edit(models, LAST_OF_MODELS, "    UserListingDirectory,\n    ProductWeight,\n)\n")
            weigh(cluster, reader.settings)
        elif text == migration:
            Path(reader.checkout, told[-1].strip()).write_text(migration, encoding="utf-8")
        elif kind == "sh":
            if "--allow" in text:
                reader.edit(reader.products, line, "")
            told.append(reader.run(text))
    assert "ALTER TABLE" in told[0]
    assert find(cluster, reader, "SELECT product_id, weight_g FROM product_weights") == {
        (uuid.UUID(int=number), number) for number in range(PRODUCTS)
    }
    cluster.cluster.refresh_table_metadata(reader.settings.cassandra_keyspace, "products")
    assert (
        "weight_g"
        not in cluster.cluster.metadata.keyspaces[reader.settings.cassandra_keyspace].tables["products"].columns
    )
    assert "drop column products.weight_g" in reader.run("store-manager schema history")


def weigh(cluster: Database, settings: Settings) -> None:
    """Do as the service does meanwhile: it stores products with a weight."""
    for number in range(PRODUCTS):
        cluster.raw.execute(
            f"INSERT INTO {settings.cassandra_keyspace}.products (product_id, weight_g) "
            f"VALUES ({uuid.UUID(int=number)}, {number})"
        )


def find(cluster: Database, reader: Reader, query: str) -> set[Any]:
    named = query.replace("FROM ", f"FROM {reader.settings.cassandra_keyspace}.")
    return {tuple(row.values()) for row in cluster.raw.execute(named)}
