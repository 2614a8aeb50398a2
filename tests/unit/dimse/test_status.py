"""What a peer is told of an error of ours."""

from __future__ import annotations

import pytest

from nearframe.dimse.status import Status, status_of
from nearframe.errors import (
    BackendFailed,
    Busy,
    DatabaseAway,
    LeaseLost,
    MalformedDICOM,
    MissingIdentifier,
    NearframeError,
    NoSpace,
)


@pytest.mark.parametrize("error", [Busy("full"), LeaseLost(), NoSpace(1, 0), DatabaseAway("it restarts")])
def test_what_may_be_tried_again_is_a_lack_of_resources(error: NearframeError) -> None:
    assert status_of(error) is Status.OUT_OF_RESOURCES  # PS3.4 Table B.2-1: A7xx, refused


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BackendFailed("a disk"), Status.PROCESSING_FAILURE),
        (MalformedDICOM("no DICOM"), Status.CANNOT_UNDERSTAND),
        (MissingIdentifier("SOPInstanceUID"), Status.DATA_SET_DOES_NOT_MATCH),
    ],
)
def test_what_is_wrong_otherwise(error: NearframeError, status: Status) -> None:
    assert status_of(error) is status
