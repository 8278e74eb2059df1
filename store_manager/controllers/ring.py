"""`/ring`: the page on which people watch their data on the ring, in French or in English.

It is made of what `store_manager.controllers.clusters` and `store_manager.controllers.products` answer, in the
browser; nothing is asked of the database here. Its sentences stand in `web/texts`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Response, render_template, request

if TYPE_CHECKING:
    from flask import Flask

TEXTS = {
    path.suffixes[0].removeprefix("."): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent.parent / "web" / "texts").glob("ring.*.json"))
}
"""The sentences of the page, by language."""

USUAL_LANGUAGE = "en"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: its own files only."""


def register(app: Flask) -> None:
    """Put the page on this application."""
    app.add_url_rule("/ring", "ring", show_ring, methods=["GET"])


def show_ring() -> Response:
    """Return the page in the language of `?lang=`, else in the one that the browser prefers."""
    asked = request.args.get("lang", "")
    language = asked if asked in TEXTS else _preferred_language()
    page = Response(
        render_template("ring.html", language=language, languages=list(TEXTS), texts=TEXTS[language]),
        mimetype="text/html",
    )
    page.headers["Content-Language"] = language
    page.headers["Content-Security-Policy"] = POLICY
    page.headers["Vary"] = "Accept-Language"
    return page


def _preferred_language() -> str:
    # Werkzeug's own match takes English for "fr-CA, en;q=0.5", because only that is named as it is here.
    preferred = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((language for language in preferred if language in TEXTS), USUAL_LANGUAGE)
