"""`store-manager recover`: finish what crashes left, once, for a scheduler.

Thin: the work stands in `store_manager.services.recovery`.
"""

from __future__ import annotations

import click

from store_manager import dao, logs, settings
from store_manager.database import connections
from store_manager.services import recovery


@click.command()
def recover() -> None:
    """Finish every order that a crash left, and cancel those that were not paid in time; exit 1 if any is left.

    The service does the same by itself (RECOVERY_INTERVAL_S). It may run beside it, and as often as one likes.
    """
    logs.configure("WARNING", "console")
    own = settings.load()
    database = connections.connect(own)
    try:
        connections.prepare_all(dao.REHEARSALS)
        limits = recovery.limits_of(own.order_pending_limit_s, own.order_unpaid_limit_s)
        left = 0
        for one in recovery.recover(limits):
            click.echo(f"{one.order_id}  {one.purpose}: {'finished' if one.finished else 'left for the next time'}")
            left += not one.finished
    finally:
        database.close()
    if left:
        raise click.ClickException(f"{left} orders could not be finished; run it again once the database answers")
