"""Whose bill it is: the personal data of a printed bill, handed in by whoever keeps them. bels itself stores none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Потребитель: his name and the address of the dwelling, as they are to be printed."""

    name: str
    address: str
