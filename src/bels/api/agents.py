"""Who brings payments over GraphQL: the partner of the credential, or the developer at this machine."""

from __future__ import annotations

from bels.access.callers import Kind
from bels.api.context import Info
from bels.domain.terms import Role
from bels.payments.partners import Partner
from bels.payments.till import Agent


def agent_of(info: Info) -> Agent:
    """Give the agent that the caller is; whose task is another one never gets this far."""
    caller = info.context.caller_for(Role.AGENT)
    if caller.kind is Kind.LOCAL:
        return Agent(Partner(caller.subject, caller.subject, caller.subject), caller.actor, prefixed=False)
    return Agent(info.context.app.partners.of(caller.subject), caller.actor)
