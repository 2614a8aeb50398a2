"""Profile files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.deidentify.profile import Mask, Option, Profile, Region, options_named, read_profile
from nearframe.errors import ConfigurationError


def test_a_profile_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(
        """
        keep = ["device", "modified-dates"]
        pixels-checked = true

        [[mask]]
        when = { Modality = "US", Rows = 480 }
        regions = [[0, 0, 640, 40], [0, 440, 640, 40]]
        """
    )
    mask = Mask((("00080060", "US"), ("00280010", "480")), (Region(0, 0, 640, 40), Region(0, 440, 640, 40)))
    assert read_profile(path) == Profile(frozenset({Option.DEVICE, Option.MODIFIED_DATES}), (mask,), True)


def test_an_empty_one_is_the_basic_profile(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text("")
    assert read_profile(path) == Profile()


@pytest.mark.parametrize(
    "text",
    [
        "keep = ['name']",
        "keep = [['dates']]",
        "keep = ['dates', 'modified-dates']",
        "masks = 1",
        "pixels-checked = 'yes'",
        "[[mask]]\nregions = [[0, 0, 1, 1]]",
        "[[mask]]\nwhen = { Modality = 'US' }\nregions = [[0, 0, 1]]",
        "[[mask]]\nwhen = { Modality = 'US' }\nregions = [[0, -1, 1, 1]]",
        "[[mask]]\nwhen = { Modalität = 'US' }\nregions = [[0, 0, 1, 1]]",
        "mask = [1]",
        "not toml",
    ],
)
def test_what_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        read_profile(path)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_profile(tmp_path / "profile.toml")


def test_options_by_name() -> None:
    assert options_named(["uids"]) == {Option.UIDS}
    with pytest.raises(ConfigurationError, match="safe-private"):
        options_named(["everything"])
