"""What the controllers are given by the composition root: the settings and the database, once it has answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from store_manager.database.keepers import DatabaseKeeper
    from store_manager.settings import Settings

EXTENSION = "store_manager"


@dataclass(frozen=True)
class StoreContext:
    """The settings, and the keeper that holds the connection to the database."""

    settings: Settings
    keeper: DatabaseKeeper


def store() -> StoreContext:
    """Return the context of the application that answers the present request."""
    return cast("StoreContext", current_app.extensions[EXTENSION])
