"""The examples of the guide run as they stand there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration.client.nodes import origin
from tests.syncing import STUDY_UID, ct_series

CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def test_examples_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = CODE.findall((root / "docs" / "guide" / "client.md").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    async with origin(tmp_path / "origin", renditions=True) as archive:
        await archive.node.store(ct_series(3, rows=64))
        for example in examples:
            code = re.sub(r"https?://(edge|archive):\d+", archive.url, example)
            await asyncio.to_thread(exec, compile(code, "client.md", "exec"), {"uid": STUDY_UID})
    assert len(examples) == 2
    said = capsys.readouterr().out
    assert re.search(r"^[0-9a-f]{64} 3 \d+ \d+$", said, re.MULTILINE)
