"""Private elements that tell nothing of a person (PS3.15 Table E.3.10-1), by who reserved their block."""

from __future__ import annotations

from typing import Final

from nearframe.dicom.model import DICOMJSON

#: Private creator to groups, and in each the last two digits of its elements.
_SAFE: Final = {
    "ELSCINT1": {
        "00E1": "21",
        "01E1": "26 50",
        "01F1": "01 07 26 27",
    },
    "GEIIS PACS": {"0903": "10 11 12"},
    "GEMS_ACQU_01": {"0019": "23 24 27 9E"},
    "GEMS_HELIOS_01": {"0045": "01 02"},
    "GEMS_PARM_01": {"0043": "27 39 6F"},
    "GEMS_SENO_02": {"0045": "06 1B 20 27 29 2A 2B 49 58 59 60 61 64 71 72 90 A0 A1 A2 A4 A7 A8"},
    "GEMS_SERS_01": {"0025": "07"},
    "HOLOGIC, Inc.": {
        "0019": (
            "06 07 08 16 25 26 27 28 29 30 31 32 33 34 35 37 40 41 42 43 44 45 46 50 51 52 53 60 61 62 "
            "70 71 80 85 87 89 8A 90 97 98"
        ),
        "7E01": "01 02 10 11 12",
        "7F01": "01 02 10 11 12",
    },
    "LORAD Selenia": {
        "0019": "06 07 08 16 26 27 28 29 30 31 32 33 34 35 37 40 41 50 51 52 53 60 70 71 80 90",
    },
    "NQHeader": {"0099": "01 04 05 10 20 21"},
    "NQLeft": {"0199": "01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16"},
    "NQRight": {"0299": "01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 14 15 16"},
    "Philips Imaging DD 001": {"2001": "03 04"},
    "Philips MR Imaging DD 001": {"2005": "0D 0E"},
    "Philips PET Private Group": {"7053": "00 09"},
    "SIEMENS MR HEADER": {"0019": "0C 0D 0E 27"},
}


def safe_private_keys(metadata: DICOMJSON) -> frozenset[str]:
    """Return the keys of a data set's safe private elements, and of the creators of their blocks.

    Private elements ``(gggg,bbee)`` belong to whom ``(gggg,00bb)`` names (PS3.5 section 7.8.1).
    """
    keys: set[str] = set()
    for key, attribute in metadata.items():
        if int(key[:4], 16) % 2 == 0 or key[4:6] != "00":
            continue
        creator = (attribute.get("Value") or [""])[0]
        elements = _SAFE.get(creator, {}).get(key[:4], "").split() if isinstance(creator, str) else []
        found = {key[:4] + key[6:] + element for element in elements} & metadata.keys()
        if found:
            keys |= {key, *found}
    return frozenset(keys)
