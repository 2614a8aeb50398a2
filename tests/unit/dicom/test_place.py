"""Where a slice stands in its series."""

from __future__ import annotations

import json

from nearframe.dicom.place import Place


def test_what_a_slice_says() -> None:
    metadata = {
        "00200013": {"vr": "IS", "Value": [7]},
        "00200032": {"vr": "DS", "Value": [10, 20, -31.25]},
        "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]},
        "00201002": {"vr": "IS", "Value": [120]},
    }
    place = Place.of(metadata)
    assert place == Place(7, -31.25, 120)
    assert Place.from_json(json.loads(json.dumps(place.as_json()))) == place


def test_what_makes_no_sense_is_missing() -> None:
    metadata = {
        "00200013": {"vr": "IS", "Value": ["x"]},
        "00200032": {"vr": "DS", "Value": [1, 2]},
        "00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, "z"]},
        "00201002": {"vr": "IS", "Value": [0]},
    }
    assert Place.of(metadata) == Place()
    assert Place().as_json() == {}


def test_positions_of_slices_of_pet() -> None:
    assert Place.of({"00201002": {"vr": "IS"}, "00540081": {"vr": "US", "Value": [47]}}).expected == 47
