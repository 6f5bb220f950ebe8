"""Banks and payment apps put together, by hand: what of their protocols is served over HTTP, and what runs beside it.

Only what serves imports this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.routing import Route

from bels.access.door import Door
from bels.api.context import RIGHTS
from bels.api.engine.context import request_id_of
from bels.app import AppError, Bels, till_of
from bels.channels.moneta import moneta_routes
from bels.channels.osmp import osmp_routes
from bels.channels.sber_eps import eps_routes
from bels.exchanging import exchanging
from bels.payments.cards.contract import cards_of
from bels.payments.exchange.registers import register_taker
from bels.payments.partners import PartnersError
from bels.payments.reconciling.due import check_contracts
from bels.payments.registers.layout import layouts_of
from bels.payments.registers.taking import taking_registers
from bels.payments.till import Till
from bels.visitors import Visitors
from bels.web.reconciling import reconciling_routes
from bels.web.registers import register_routes


@dataclass(frozen=True, slots=True)
class Partnering:
    """What partners find: the till with their contracts, and the routes of their protocols."""

    bels: Bels
    till: Till
    routes: tuple[Route, ...]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take registers that wait, and exchange files with the banks that do, where the settings name the folder.

        :raises AppError: the port, the host key or a contract cannot be used.
        """
        async with taking_registers(self.till), exchanging(self.bels, self.till, register_taker(self.till)):
            yield


def partnering_of(bels: Bels, door: Door) -> Partnering:
    """Put the protocols of partners together, as far as their contracts name them.

    :raises AppError: a contract or a secret cannot be used.
    """
    till, visitors = till_of(bels, door), Visitors(bels.pool, door)
    table = bels.settings.partners.partners
    folder = table.parent if table is not None else Path()
    try:
        for partner in till.partners.partners:
            layouts_of(partner)
        check_contracts(till.partners.partners)
        cards = cards_of(till)
        routes = (
            *osmp_routes(till, folder=folder, request_id=_request_id),
            *eps_routes(till, folder=folder, request_id=_request_id),
            *(moneta_routes(cards) if cards is not None else ()),
            *register_routes(visitors, till),
            *reconciling_routes(till, visitors, RIGHTS),
        )
    except PartnersError as error:
        raise AppError(f"BELS_PARTNERS: {error}") from error
    return Partnering(bels, till, routes)


def _request_id(request: Request) -> str:
    return request_id_of(request.scope)
