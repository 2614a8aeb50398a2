"""The reference pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nearframe import metrics
from nearframe.config import SETTINGS
from scripts import generate_reference


@pytest.mark.parametrize("page", generate_reference.PAGES)
def test_page_is_current(root: Path, page: str) -> None:
    written = (root / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert written == generate_reference.render(page), "run: python scripts/generate_reference.py"


def test_every_setting_is_used(root: Path) -> None:
    source = "".join(
        path.read_text() for path in (root / "src").rglob("*.py") if path.name not in ("config.py", "_settings.py")
    )
    unused = [one.name for one in SETTINGS if not re.search(rf"\.{one.name}\b", source)]
    assert not unused


def test_every_metric_is_counted(root: Path) -> None:
    source = "".join(path.read_text() for path in (root / "src").rglob("*.py") if path.name != "metrics.py")
    names = {value.full_name: name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    assert set(names) == {metric.full_name for metric in metrics.METRICS}
    unused = [name for name in names.values() if not re.search(rf"\b{name}\b", source)]
    assert not unused
