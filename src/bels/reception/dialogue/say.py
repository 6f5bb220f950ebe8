"""Every sentence of the dialogue, in Russian: written out by bots, recorded for the telephone."""

from __future__ import annotations

from bels.domain.terms import Word


class Say(Word):
    """The sentences, by name."""

    GREETING = "GREETING"


WORDS: dict[Say, str] = {
    Say.GREETING: "Здравствуйте! Это БЭЛС, передача показаний.",
}
"""The words of each; {name} is a part of the line."""
