"""The commands about what goes out: `bels deliver`, `bels remind`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

from bels.app import door_of
from bels.command import DONE, CliError, ready, run, settings_given
from bels.observing.logs import set_up_logging

DELIVER_HELP = """\
Sends reminders, notices, codes and answers to letters until it is stopped, and plans them by the clock: reminders by day, news
every minute. Does what is due for partners too: webhooks, the reconciliation of yesterday, cards. Seals the journal every night.
Any number of these may run, beside servers with BELS_DELIVER=on too: each text goes out once.

  BELS_SENDSMS, BELS_SENDSMS_PASSWORD_FILE  Kannel, with the user in the URL: http://bels@127.0.0.1:13013/cgi-bin/sendsms
  BELS_SMS_REPORTS                          a server as Kannel sees it, for its reports: http://127.0.0.1:8001
  BELS_SMTP, BELS_MAILBOX                   the mail server and our address
  BELS_TELEGRAM_TOKEN_FILE, BELS_MAX_TOKEN_FILE  the bots
  BELS_PUBLIC_URL                           what links begin with
  BELS_PARTNERS                             the contracts of partners
  BELS_SEALS, BELS_SEAL_HOURLY              folder of the seals; every hour (on) in place of every night
"""

REMIND_HELP = """\
Plans what is due now: the reminders of the day on which the window of a period opens, or two days before it closes, and the
notices of the last three days. It sends nothing itself, and what was planned before is not planned again.
"""


def add_deliver(command: Callable[..., Any]) -> None:
    """Add ``bels deliver``."""
    command(
        "deliver", "Send reminders, notices and answers, and seal the journal, until stopped", _deliver, DELIVER_HELP
    )


def add_remind(command: Callable[..., Any]) -> None:
    """Add ``bels remind``."""
    command("remind", "Plan the reminders and notices that are due now", _remind, REMIND_HELP)


def _deliver(_: argparse.Namespace) -> int:
    from bels.delivering import delivering, opened_senders

    settings = settings_given()
    set_up_logging("json" if settings.log == "json" else "text", sys.stderr)

    async def running() -> int:
        async with ready(settings) as bels:
            door = await door_of(bels, local=False)
            async with opened_senders(bels, door) as senders:
                # A supplier without any gateway wants its journal sealed, too.
                if not senders and settings.partners.partners is None and settings.audit.seals is None:
                    raise CliError(
                        "nobody is named: set BELS_SENDSMS, BELS_SMTP, the token file of a bot, BELS_PARTNERS or BELS_SEALS"
                    )
                async with delivering(bels, door, senders):
                    ways = [*sorted(channel.value for channel in senders), "webhooks"]
                    often = "hour" if settings.audit.seal_hourly else "night"
                    print(f"bels delivers by {', '.join(ways)}, and seals the journal every {often}", flush=True)
                    await asyncio.Event().wait()
        return DONE

    try:
        return run(running())
    except KeyboardInterrupt:
        # It has no other end: stopped in good order it is done.
        return DONE


def _remind(_: argparse.Namespace) -> int:
    from bels.outgoing.outcomes import NEWS_FOR, plan_notices
    from bels.outgoing.reminders import plan_reminders

    async def running() -> int:
        async with ready(settings_given()) as bels:
            now = bels.intake.clock()
            planned = await plan_reminders(bels.pool, bels.intake, now)
            async with bels.pool.acquire() as db:
                news = await plan_notices(db, now, now - NEWS_FOR)
        if planned.kind is None:
            print("No reminder is due today.")
        else:
            print(f"Reminders planned for {planned.period} ({planned.kind}): {planned.count:,}")
        print(f"Notices planned: {news:,}")
        return DONE

    return run(running())
