"""The schema: one for everybody; who may see what is decided by rights, not by several schemas."""

from __future__ import annotations

from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type

from bels.api.engine.documents import Schema
from bels.api.mutations import Mutation
from bels.api.queries import Query
from bels.api.subscriptions import Subscription


def _made() -> Schema:
    schema = Schema(Query, Mutation, Subscription)
    for kind in schema._schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for field in kind.fields.values():
                for argument in field.args.values():
                    given = get_named_type(argument.type)
                    # An argument that is one whole input says what the input says.
                    if argument.description is None and isinstance(given, GraphQLInputObjectType):
                        argument.description = given.description
    return schema


SCHEMA = _made()


def sdl() -> str:
    """Print the schema in the schema definition language, as ``schema.graphql`` keeps it."""
    return SCHEMA.as_str() + "\n"
