"""A home whose packs outlived their catalogue is not begun anew over them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nearframe.app import open_origin
from nearframe.config import Settings
from nearframe.errors import ConfigurationError
from nearframe.ids import sha256
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, StudyRef


async def opened_and_closed(settings: Settings) -> None:
    async with open_origin(settings):
        pass


async def test_it_is_refused_with_a_remedy(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, insecure=True)
    await opened_and_closed(settings)
    await opened_and_closed(settings)
    data = os.urandom(1000)
    with PackStore(tmp_path, PackSettings(reserve_bytes=0)) as packs:
        packs.append(StudyRef("main", "1.2"), ContentKind.FRAME, sha256(data), len(data), [data])
    await opened_and_closed(settings)  # contents of no version: what a crash may leave

    for file in tmp_path.glob("catalogue.sqlite*"):
        file.unlink()
    with pytest.raises(ConfigurationError, match="there is no catalogue to say whose"):
        await opened_and_closed(settings)
    with pytest.raises(ConfigurationError):  # nor did the refusal make one
        await opened_and_closed(settings)
