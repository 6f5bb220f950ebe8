"""Cells of tables that people open in a spreadsheet: it computes what begins like a formula, and the text may be a stranger's own."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """Give a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def harmless_or_sum(text: str) -> str:
    """Give a cell that no spreadsheet takes for a formula; a number with a decimal comma stays one, also below zero."""
    return text if text[1:].replace(",", "").isdigit() else harmless(text)
