"""Limits name their unit and reason, and the settings that set them agree."""

from __future__ import annotations

from dataclasses import fields

from nearframe.config import Settings
from nearframe.dicom.limits import bounds


def test_every_limit_has_a_unit_and_a_reason() -> None:
    assert all(limit.metadata["unit"] and limit.metadata["reason"] for limit in bounds())


def test_every_limit_is_a_setting_with_the_same_default() -> None:
    settings = {setting.name: setting.default for setting in fields(Settings)}
    assert {limit.name: limit.default for limit in bounds()} == {
        limit.name: settings.get(limit.name) for limit in bounds()
    }
