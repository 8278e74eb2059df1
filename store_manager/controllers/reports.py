"""`/orders/reports`: what sold best, who spent most. The sums stand in `store_manager.services.reports`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask_restx import Namespace
from flask_restx import fields as restx

from store_manager.controllers.contexts import store
from store_manager.controllers.fields import DayField, IdField, MoneyField, TextField, WholeField
from store_manager.controllers.operations import READS_REPORT, Answer, Contract, StoreResource, answer, operation
from store_manager.controllers.pages import limit_field
from store_manager.controllers.representations import Query, Representation
from store_manager.services import reports

if TYPE_CHECKING:
    from flask import Response

USUAL_DAYS = 30
"""How many days a report covers that names none, today included."""

ns = Namespace("reports", path="/orders/reports", description="What sold best, who spent most")

REPORT_QUERY = Query(
    "ReportQuery",
    {
        "from": DayField(attribute="start", description=f"First day, UTC; by default {USUAL_DAYS} days up to the last"),
        "to": DayField(attribute="end", description="Last day, UTC; by default today"),
        **limit_field("entries of the answer"),
    },
)
BEST_SELLER = Representation(
    "BestSeller",
    {
        "product_id": IdField(description="The product", required=True),
        "sku": TextField(description="Its SKU when it was ordered", example="MOUSE-7", required=True),
        "name": TextField(description="Its name when it was ordered", example="Gamer mouse", required=True),
        "quantity": WholeField(description="Units that were sold", example=12, required=True),
        "revenue": MoneyField(description="Sum of the lines", example="359.88", required=True),
    },
)
SPENDER = Representation(
    "Spender",
    {
        "user_id": IdField(description="The user", required=True),
        "name": TextField(description="The name; null once deleted", example="Jane Doe", required=True, nullable=True),
        "orders": WholeField(description="How many orders", example=3, required=True),
        "total": MoneyField(description="Sum of the orders", example="179.94", required=True),
    },
)


@dataclass(frozen=True)
class Report:
    """The entries of a report, and what it covers."""

    start: date
    end: date
    currency: str
    entries: list[Any]


def _report_of(name: str, collection: str, entry: Representation) -> Representation:
    entries = restx.List(restx.Nested(entry.model), attribute="entries", required=True, description="Most first")
    return Representation(
        name,
        {
            "from": DayField(attribute="start", description="First day, UTC", required=True),
            "to": DayField(attribute="end", description="Last day, UTC", required=True),
            "currency": TextField(description="ISO 4217 code of all amounts", example="CAD", required=True),
            collection: entries,
        },
    )


BEST_SELLERS = _report_of("BestSellers", "best_sellers", BEST_SELLER)
HIGHEST_SPENDERS = _report_of("HighestSpenders", "highest_spenders", SPENDER)


def _range(start: date | None, end: date | None) -> tuple[date, date]:
    last = end or datetime.now(UTC).date()
    return start or last - min(timedelta(days=USUAL_DAYS - 1), last - date.min), last


@ns.route("/best-sellers")
class BestSellersReport(StoreResource):
    """What sold best."""

    @operation(
        ns,
        Contract(
            "report_best_sellers",
            {200: Answer("Products by units sold", BEST_SELLERS)},
            query=REPORT_QUERY,
            reads=READS_REPORT,
        ),
    )
    def get(self, query: dict[str, Any]) -> Response:
        """Show the products of which the most units were sold.

        Orders count that are confirmed, paid or fulfilled.
        """
        start, end = _range(query["start"], query["end"])
        found = reports.find_best_sellers(start=start, end=end, limit=query["limit"])
        return answer(BEST_SELLERS, Report(start, end, store().settings.store_currency, found))


@ns.route("/highest-spenders")
class HighestSpendersReport(StoreResource):
    """Who spent most."""

    @operation(
        ns,
        Contract(
            "report_highest_spenders",
            {200: Answer("Users by spending", HIGHEST_SPENDERS)},
            query=REPORT_QUERY,
            reads=READS_REPORT,
        ),
    )
    def get(self, query: dict[str, Any]) -> Response:
        """Show the users whose orders add up to the most.

        Orders count that are confirmed, paid or fulfilled.
        """
        start, end = _range(query["start"], query["end"])
        found = reports.find_highest_spenders(start=start, end=end, limit=query["limit"])
        return answer(HIGHEST_SPENDERS, Report(start, end, store().settings.store_currency, found))
