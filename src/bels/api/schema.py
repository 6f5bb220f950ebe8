"""The schema: one for everybody; who may see what is decided by rights, not by several schemas."""

from __future__ import annotations

from bels.api.engine.documents import Schema
from bels.api.mutations import Mutation
from bels.api.queries import Query
from bels.api.subscriptions import Subscription

SCHEMA = Schema(Query, Mutation, Subscription)


def sdl() -> str:
    """Print the schema in the schema definition language, as ``schema.graphql`` keeps it."""
    return SCHEMA.as_str() + "\n"
