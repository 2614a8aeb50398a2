"""Reading a few elements with pydicom, without a word about values that are not looked at."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.config import disable_value_validation

from nearframe.errors import MalformedDICOM


@contextmanager
def lenient_reading() -> Iterator[None]:
    """Read inside, and take values out inside: pydicom converts them when they are asked for.

    Raises
    ------
    MalformedDICOM
        For whatever a broken file makes pydicom raise.
    """
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise MalformedDICOM(f"it cannot be read ({type(error).__name__})") from error
