"""Carrying out a plan: one statement at a time, on one coordinator, each agreed on by all nodes before the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cassandra import RequestValidationException
from cassandra.protocol import SyntaxException

from store_manager.database.failures import DRIVER_ERRORS
from store_manager.models import MODELS
from store_manager.schema.agreements import explain_disagreement, find_present, learn_schema, require_agreement
from store_manager.schema.faults import SchemaRefused, SchemaStepFailed
from store_manager.schema.plans import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_manager.database.connections import Database
    from store_manager.models import StoreModel
    from store_manager.schema.steps import Plan, Step
    from store_manager.settings import Settings

_REFUSALS = (RequestValidationException, SyntaxException)


def sync(
    database: Database,
    settings: Settings,
    models: tuple[type[StoreModel], ...] = MODELS,
    *,
    tell: Callable[[Step], object] = lambda _step: None,
) -> list[Step]:
    """Bring the keyspace of the settings in line with the Models, and return what was done; nothing if it already is.

    Several may do this at once, and it may be run again after any interruption. `tell` hears of each step before it
    is run. Raises what `plan` raises; at the first step that fails SchemaStepFailed or SchemaDisagreement, and then no
    further one is run.
    """
    planned = plan(database, settings, models)
    if planned.blocked:
        raise _refuse(settings, planned)
    steps = list(planned.runnable)
    coordinator, present = database.cluster.get_control_connection_host(), find_present(database)
    for step in steps:
        tell(step)
        _run(database, step, coordinator)
        require_agreement(database, present)
    if steps:
        # What others made at the same time, this driver would learn seconds later.
        learn_schema(database)
    return steps


def _refuse(settings: Settings, planned: Plan) -> SchemaRefused:
    found = [f"{step.what}: {step.why}" for step in planned.blocked]
    return SchemaRefused(
        f"Keyspace {settings.cassandra_keyspace} differs from the Models in what can't be changed in place, so "
        f"nothing was run: {'; '.join(found)}",
        differences=found,
    )


def _run(database: Database, step: Step, coordinator: Any) -> None:
    try:
        result = database.raw.execute(step.cql, host=coordinator)
    except _REFUSALS as error:
        raise SchemaStepFailed(f"Cassandra refuses this step: {step.what} ({error})") from error
    except DRIVER_ERRORS as error:
        raise SchemaStepFailed(
            f"Nobody knows whether this step happened: {step.what}. Once the nodes answer, run the sync again: it "
            "goes on from what there is then",
        ) from error
    if not result.response_future.is_schema_agreed:  # the driver has waited already
        raise explain_disagreement(database)
