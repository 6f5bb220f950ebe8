"""Raw words: what is more than a reading is sealed, whatever its writer calls it."""

from __future__ import annotations

from bels.access.raw_texts import SEALED, RawTexts


def test_words_that_only_claim_to_be_sealed_are_sealed() -> None:
    texts = RawTexts(b"k" * 32)
    claimed = f"{SEALED} Анна, +79161234567"

    kept = texts.kept(claimed)

    assert "Анна" not in kept
    assert texts.opened(kept) == claimed
    assert texts.kept(kept) == kept, "and what is sealed stays as it is"
