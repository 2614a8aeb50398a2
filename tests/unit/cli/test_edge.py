"""What ``nearframe edge status`` says in words."""

from __future__ import annotations

from typing import Any

import pytest

from nearframe.cli.edge import _stand, _upstream_line


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ({"reachable": True, "lag": 1}, "reachable, 1 changed study to follow"),
        ({"reachable": False, "lag": 0}, "away: what changed there since is not known"),
        ({"reachable": True, "kind": "dicomweb"}, "an archive by DICOMweb, reachable"),
        ({"reachable": True, "kind": "dicom"}, "an archive by DICOM, reachable"),
    ],
)
def test_the_upstream_in_a_line(upstream: dict[str, Any], said: str) -> None:
    assert _upstream_line(upstream) == said


def test_one_of_several() -> None:
    stands = {"healthy": False, "in_use": False, "last_error": "the upstream did not answer in time"}
    assert _stand(stands) == "away, last error: the upstream did not answer in time"
