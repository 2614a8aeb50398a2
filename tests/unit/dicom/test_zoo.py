"""Every file of the zoo becomes what is written down, within bounded time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vectors.make_zoo import EXPECTATIONS, outcomes

EXPECTED = json.loads(EXPECTATIONS.read_text(encoding="utf-8"))


@pytest.mark.data
def test_every_file_of_the_zoo(data_dir: Path) -> None:
    found = outcomes(data_dir / "zoo")
    assert sorted(found) == sorted(EXPECTED)
    assert {name: row for name, row in found.items() if row != EXPECTED[name]} == {}


def test_what_is_written_down_names_no_one() -> None:
    keys = {key for row in EXPECTED.values() for key in row}
    assert keys == {"outcome", "reason", "because", "transfer_syntax", "frames", "notes"}
    assert sum(row["outcome"] == "stored" for row in EXPECTED.values()) > 240
