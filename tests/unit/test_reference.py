"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import generate_reference


@pytest.mark.parametrize("page", generate_reference.PAGES)
def test_page_is_current(root: Path, page: str) -> None:
    written = (root / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert written == generate_reference.render(page), "run: python scripts/generate_reference.py"
