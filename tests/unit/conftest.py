"""The application without a database: for what the controllers do with requests and with what services return."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import create_autospec

import hypothesis
import pytest

from store_manager import app as composition
from store_manager.database.connections import Database
from store_manager.settings import Settings

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

# A machine that others keep busy is slow at times: how long an example takes says nothing.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def store_app() -> Flask:
    """The application on a database that is never asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "prepare_all", lambda _: None)
        return composition.create_app(Settings(), create_autospec(Database, instance=True))


@pytest.fixture
def client(store_app: Flask) -> FlaskClient:
    """A caller of that application."""
    return store_app.test_client()
