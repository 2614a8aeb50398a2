"""What drills are told, and how they tell how it goes."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a line, whatever the test run captures."""

    def say(words: str) -> None:
        with capsys.disabled():
            print(words, flush=True)  # noqa: T201 - for who watches it

    return say


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What ``--seed`` says, or any."""
    chosen = pytestconfig.getoption("--seed")
    return secrets.randbelow(10**6) if chosen is None else int(chosen)
