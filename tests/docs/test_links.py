"""Links lead somewhere: to files that are there and headings that they have, and
pages of the book stay in the book.
"""

from __future__ import annotations

import pathlib
import re

import pytest
from serving import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md")),
    *sorted(DOCS.rglob("*.md")),
]


def prose(page: pathlib.Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: pathlib.Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not link.startswith("http")]


def anchors(page: pathlib.Path) -> set[str]:
    """The headings as GitHub and mdBook name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_the_book_has_every_page_and_links_to_nothing_else() -> None:
    listed = set(links(DOCS / "SUMMARY.md"))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"SUMMARY.md"}
    assert listed == pages
    for name in pages:
        for link in links(DOCS / name):
            target = ((DOCS / name).parent / link.partition("#")[0]).resolve()
            assert target.is_relative_to(DOCS), f"{name} links out of the book: {link}"
