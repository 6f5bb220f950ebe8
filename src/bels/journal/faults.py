"""What PostgreSQL may answer to a writer: another was first, or nothing can be stored now."""

from __future__ import annotations

import asyncpg

CONFLICT = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
"""Another writer was first: read again and decide again."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)
"""The database cannot be reached, has no room, takes no writes or has other tables than this program: no message is to
blame. Nothing was stored, or the sender cannot know. Send it again."""
