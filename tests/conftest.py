"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import nearframe as nearframe  # before numpy: it limits the threads numpy starts
from tests.postgres import running_server, server_binaries
from tests.radosgw import ACCESS_KEY, SECRET_KEY, Radosgw, missing_programs, running_radosgw

REPOSITORY = Path(__file__).parents[1]

# How long one example takes says how busy the machine is, not whether the code is right. The suite
# draws the same examples each time; the drill (`--hypothesis-profile drill`) draws new and more ones.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.register_profile("drill", deadline=None, max_examples=500)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the fault drill is told."""
    parser.addoption("--seed", type=int, help="fault drill: which faults, when; drawn if left out")
    parser.addoption("--faults", type=int, default=200, help="fault drill: how many")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real studies: ``NEARFRAME_TEST_DATA``, or ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("NEARFRAME_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no folder of real studies: set NEARFRAME_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of the tests' own: the folder of its socket, for `tests.postgres.create_schema`."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server installed: apt-get install postgresql")
    with running_server(binaries) as socket_folder:
        yield socket_folder


@pytest.fixture(scope="session")
def radosgw() -> Iterator[Radosgw]:
    """An S3 server of the tests' own, and its credentials where every client looks for them."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"no {missing[0]} installed: apt-get install ceph-mon ceph-osd ceph-common radosgw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        with running_radosgw() as server:
            yield server
