"""A small study, and a node that holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from nearframe.cli import main
from tests.integration.conftest import Running as Running


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two instances of one CT series."""
    folder = tmp_path_factory.mktemp("samples")
    paths = []
    for number in (1, 2):
        ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SeriesInstanceUID}.{number}")
        ds.InstanceNumber = number
        ds.save_as(folder / f"{number}.dcm")
        paths.append(folder / f"{number}.dcm")
    return paths


@pytest.fixture(scope="session")
def origin(start: Callable[..., Running], samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """An origin that holds `samples`."""
    node = start("origin", tmp_path_factory.mktemp("origin"))
    assert main(["import", *map(str, samples), "--to", node.url, "--quiet"]) == 0
    return node
