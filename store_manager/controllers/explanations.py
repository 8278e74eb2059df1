"""`/problems`: what each code of an error means and what a caller can do; where a problem's `type` leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_restx import Namespace

from store_manager.controllers.fields import TextField, WholeField
from store_manager.controllers.operations import Answer, Contract, StoreResource, answer, operation
from store_manager.controllers.problems import PROBLEM_TYPES, ProblemType
from store_manager.controllers.representations import Representation
from store_manager.errors import NotFound

if TYPE_CHECKING:
    from flask import Response

ns = Namespace("problems", description="What the codes of errors mean")

EXPLANATION = Representation(
    "Explanation",
    {
        "code": TextField(description="The code", required=True, example="SKU_TAKEN"),
        "status": WholeField(attribute="kind.status", description="Its HTTP status", required=True, example=409),
        "title": TextField(attribute="kind.title", description="What kind of problem it is", required=True),
        "remedy": TextField(attribute="kind.remedy", description="What a caller can do", required=True),
    },
)


@dataclass(frozen=True)
class _Explained:
    code: str
    kind: ProblemType


@ns.route("/<code>")
@ns.doc(params={"code": {"description": "The code of a problem", "x-example": "SKU_TAKEN"}})
class Explanation(StoreResource):
    """The explanation of one code."""

    @operation(
        ns,
        Contract(
            "explain_problem",
            {200: Answer("The explanation", EXPLANATION)},
            refuses=(NotFound,),
            asks_database=False,
        ),
    )
    def get(self, code: str) -> Response:
        """Explain a code."""
        if code not in PROBLEM_TYPES:
            raise NotFound("No problem has this code.")
        return answer(EXPLANATION, _Explained(code, PROBLEM_TYPES[code]))
