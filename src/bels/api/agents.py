"""Who brings payments over GraphQL: the partner of the credential, an operator, or the developer at this machine."""

from __future__ import annotations

from bels.access.callers import Kind
from bels.api.context import Info
from bels.domain.terms import Role
from bels.payments.partners import Partner
from bels.payments.till import Agent


def agent_of(info: Info) -> Agent:
    """Give the agent that the caller is; whose task is another one never gets this far.

    An operator enters what came on paper, under nobody's contract.
    """
    caller = info.context.caller_for(Role.AGENT)
    if caller.kind is Kind.PARTNER:
        return Agent(info.context.app.partners.of(caller.subject), caller.actor)
    nobodys = Partner(caller.subject, caller.subject, caller.subject)
    return Agent(nobodys, caller.actor, prefixed=caller.kind is not Kind.LOCAL, channel=caller.channel)
