"""The physical limit: a bare binary COPY of the same rows into tables of the same shape, on the same PostgreSQL.

Nothing is computed and nothing is looked up: rows are taken out beforehand, and only writing them, with all their
indexes and one commit, is timed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import asyncpg

SCRATCH = "bench_copy"
COMMAND_WAIT_S = 60

# Generated columns cannot be copied in; GENERATED ALWAYS AS IDENTITY can.
_COLUMNS = """\
SELECT attname FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum"""


@dataclass(frozen=True, slots=True)
class Limit:
    """What COPY reached: rows of all tables, and how long they took together."""

    rows: int
    seconds: float

    def per_s(self, count: int) -> float:
        """Give the rate of what the rows stand for: so many readings, or events."""
        return count / self.seconds if self.seconds else 0.0


async def limit_of_tables(
    url: str, tables: Sequence[str], rounds: int = 3, where: Mapping[str, str] | None = None
) -> Limit:
    """Copy the rows of these tables into new ones of the same shape, in one transaction; the median of some rounds.

    ``where`` says in SQL, by table, which rows; all of them where it says nothing.
    """
    connection = await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S)
    try:
        taken: list[tuple[str, list[str], bytes]] = []
        for table in tables:
            columns = [row["attname"] for row in await connection.fetch(_COLUMNS, table)]
            rows = BytesIO()
            names = ", ".join(f'"{column}"' for column in columns)
            chosen = f"SELECT {names} FROM {table} WHERE {(where or {}).get(table, 'true')}"
            await connection.copy_from_query(chosen, output=rows, format="binary")
            taken.append((table, columns, rows.getvalue()))
        taking = []
        for _ in range(rounds):
            await connection.execute(f"DROP SCHEMA IF EXISTS {SCRATCH} CASCADE; CREATE SCHEMA {SCRATCH}")
            for table in tables:
                await connection.execute(f"CREATE TABLE {SCRATCH}.{table} (LIKE {table} INCLUDING ALL)")
            count = 0
            began = time.perf_counter()
            async with connection.transaction():
                for table, columns, rows_of_table in taken:
                    said = await connection.copy_to_table(
                        table, schema_name=SCRATCH, columns=columns, source=BytesIO(rows_of_table), format="binary"
                    )
                    count += int(said.rpartition(" ")[2])
            taking.append(Limit(count, time.perf_counter() - began))
        await connection.execute(f"DROP SCHEMA {SCRATCH} CASCADE")
    finally:
        await connection.close()
    return sorted(taking, key=lambda limit: limit.seconds)[rounds // 2]
