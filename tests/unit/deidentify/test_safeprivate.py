"""Private elements by who reserved their block."""

from __future__ import annotations

from nearframe.deidentify.safeprivate import safe_private_keys


def test_the_block_may_be_any() -> None:
    metadata = {
        "00190010": {"vr": "LO", "Value": ["OTHER"]},
        "001900AB": {"vr": "LO", "Value": ["GEMS_ACQU_01"]},
        "00191023": {"vr": "LO", "Value": ["not theirs"]},
        "0019AB23": {"vr": "DS", "Value": [1.5]},
        "0019AB25": {"vr": "LO", "Value": ["not on the list"]},
        "00430010": {"vr": "LO", "Value": ["GEMS_PARM_01"]},
        "00450010": {"vr": "LO"},
        "00470010": {"vr": "UN", "InlineBinary": "AAA="},
    }
    assert safe_private_keys(metadata) == {"001900AB", "0019AB23"}
