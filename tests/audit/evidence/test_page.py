"""The story of an account in a real browser: on a telephone, judged by axe-core, and printed."""

from __future__ import annotations

import io
import re
from pathlib import Path
from zipfile import ZipFile

import pypdfium2  # type: ignore[import-untyped]
import pytest

from tests.peers.browser import PHONE, browsing, faults_of, need_browser

pytestmark = pytest.mark.peer


async def test_the_story_is_read_on_a_telephone_and_printed_without_lonely_headings(
    included: bytes, tmp_path: Path
) -> None:
    need_browser()
    place = tmp_path / "timeline.html"
    with ZipFile(io.BytesIO(included)) as pack:
        place.write_bytes(pack.read("timeline.html"))
    async with browsing() as browser:
        context = await browser.new_context(
            viewport={"width": PHONE["width"], "height": PHONE["height"]}, bypass_csp=True
        )
        page = await context.new_page()
        await page.goto(place.as_uri())
        assert await faults_of(page) == []
        printed = await page.pdf(prefer_css_page_size=True)

    sheets = [sheet.get_textpage().get_text_range() for sheet in pypdfium2.PdfDocument(printed)]
    assert len(sheets) > 2
    for sheet in sheets:
        lines = [line.strip() for line in sheet.splitlines() if line.strip() and "история на" not in line]
        assert not re.fullmatch(r"[А-Я][а-я]+ 20\d\d", [line for line in lines if "/" not in line][-1])
