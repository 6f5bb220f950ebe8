"""How the benchmarks start and feed bels: its commands and tables, in one place."""

import asyncio
import sys

from bels.app import opened
from bels.domain.commands import InstallMeter, OpenAccount
from bels.domain.terms import Channel, Locality, MeterModel, Register, Stove
from bels.messages import Message
from bels.settings import Settings
from bench.traffic import Household

# What one reading leaves behind: the message, the journal's entry, and its rows in the views.
VIEWS = ("reading", "estimation", "overview", "usage", "recalculation", "ledger", "balance", "payment")

TABLES = ("message", "journal", *VIEWS)


def serve(port: int, *, local: bool = True) -> list[str]:
    """Serve the API, to anybody at this machine or to nobody without a token. BELS_DATABASE_URL is in the environment."""
    return [sys.executable, "-m", "bels", "serve", *(["--local"] if local else []), "--port", str(port)]


def seed(settings: Settings, opened_households: list[Household]) -> None:
    """Open the households in an empty supplier."""

    async def run() -> None:
        async with opened(settings) as bels:
            for i in range(0, len(opened_households), 500):
                await bels.intake.handle([message for h in opened_households[i : i + 500] for message in _messages(h)])

    asyncio.run(run())


def _messages(h: Household) -> tuple[Message, Message]:
    account = OpenAccount(h.read_at, Locality.URBAN, Stove.GAS, 2, 3)
    meter = InstallMeter(
        MeterModel(h.meter, h.capacity, (Register.TOTAL,)), h.read_at, {Register.TOTAL: h.value}, "bench"
    )
    return (
        Message(Channel.MIGRATION, f"open:{h.account}", "bench", h.account, account, h.account),
        Message(Channel.MIGRATION, f"meter:{h.account}", "bench", h.account, meter, h.account),
    )
