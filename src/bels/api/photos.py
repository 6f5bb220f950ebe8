"""Photos of a display that came with a reading: what they are and where they are shown; the pictures are not in the schema."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import strawberry
from strawberry.dataloader import DataLoader

from bels.reception.evidence import RECEIPTS_MAX, Evidence, photos_of


@strawberry.type(description="A photo of the display that came with a reading.")
class Photo:
    """A photo that came with a reading."""

    id: strawberry.ID = strawberry.field(description="Its name, in its URL too.")
    sha256: str = strawberry.field(description="The digest of its bytes as they came, in hexadecimal.")
    content_type: str = strawberry.field(description="What it is: image/jpeg, image/png or image/webp.")
    at: datetime = strawberry.field(description="When it came.")
    url: str = strawberry.field(description="Where it is shown, to whoever may see the reading.")

    @classmethod
    def of(cls, kept: Evidence) -> Photo:
        """Show what is kept of a photo."""
        return cls(
            id=strawberry.ID(kept.evidence),
            sha256=kept.sha256.hex(),
            content_type=kept.content_type,
            at=kept.at,
            url=f"/evidence/{kept.evidence}",
        )


def photo_loader(pool: asyncpg.Pool) -> DataLoader[str, list[Photo]]:
    """Give what finds the photos of readings by their receipts: those of a whole list in one statement, and nothing remembered."""

    async def load(numbers: list[str]) -> list[list[Photo]]:
        async with pool.acquire() as db:
            found = await photos_of(db, numbers)
        return [[Photo.of(kept) for kept in found.get(number, [])] for number in numbers]

    return DataLoader(load_fn=load, max_batch_size=RECEIPTS_MAX, cache=False)
