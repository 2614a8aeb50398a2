"""The pages for people: links lead somewhere, and every decision that is named exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LINK = re.compile(r"\]\(([^)\s]+)\)")
DECISION = re.compile(r"\bADRs? (\d+)")
TITLE = re.compile(r"# (\d+)\. \S")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def decisions(root: Path) -> dict[int, Path]:
    return {int(path.name[:4]): path for path in (root / "docs" / "adr").glob("[0-9]*.md")}


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = page.parent / path if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            yield target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(root: Path) -> None:
    assert {str(page.relative_to(root)): broken for page in pages(root) if (broken := list(broken_links(page)))} == {}


def test_every_page_can_be_reached_from_the_readme(root: Path) -> None:
    reached: set[Path] = set()
    waiting = [root / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(page.read_text()):
            linked = (page.parent / target.partition("#")[0]).resolve()
            waiting += sorted(linked.glob("*.md")) if linked.is_dir() else [linked] if linked.suffix == ".md" else []
    assert set(pages(root)) <= reached


def test_decisions_are_numbered_once_and_listed(root: Path) -> None:
    known = decisions(root)
    assert set(known.values()) == set((root / "docs" / "adr").glob("[0-9]*.md"))
    listed = (root / "docs" / "adr" / "README.md").read_text()
    for number, path in known.items():
        first = path.read_text().splitlines()[0]
        assert (match := TITLE.match(first)), path.name
        assert int(match[1]) == number
        assert f"[{number}]({path.name}) | {first.partition('. ')[2]} |" in listed


@pytest.mark.parametrize("folder", ["src", "docs", "bench", "tests"])
def test_every_decision_that_is_named_exists(root: Path, folder: str) -> None:
    for path in (root / folder).rglob("*.*"):
        if path.suffix in (".py", ".md", ".js"):
            named = {int(number) for number in DECISION.findall(path.read_text())}
            assert named <= decisions(root).keys(), path
