"""What every list has in common: its two parameters, and the page that it answers."""

from __future__ import annotations

from flask_restx import fields as restx

from store_manager.controllers.fields import TextField, WholeField
from store_manager.controllers.representations import Fields, Query, Representation

MOST_ENTRIES = 100
USUAL_ENTRIES = 20


def limit_field(what: str = "entries of a page; a page may be shorter and still not be the last") -> Fields:
    """Return the parameter that bounds an answer."""
    description = f"The most {what}"
    limits = {"minimum": 1, "maximum": MOST_ENTRIES}
    return {"limit": WholeField(description=description, limits=limits, default=USUAL_ENTRIES, example=USUAL_ENTRIES)}


def page_query(name: str, filters: Fields | None = None) -> Query:
    """Return the query of a list: `limit`, `cursor` and these filters; what is absent reads as None."""
    cursor = TextField(description="`next` of the page before, unchanged", limits={"minLength": 1, "maxLength": 500})
    return Query(name, {**limit_field(), "cursor": cursor, **(filters or {})})


def page_of(name: str, collection: str, entry: Representation) -> Representation:
    """Return the representation of a page that names its collection."""
    return Representation(
        name,
        {
            collection: restx.List(
                restx.Nested(entry.model), attribute="items", required=True, description="What is on this page"
            ),
            "next": TextField(description="Cursor of the next page; null: the end", required=True, nullable=True),
        },
    )
