"""De-identification: PS3.15 Annex E, the Basic Application Level Confidentiality Profile with options."""

from __future__ import annotations

from nearframe.deidentify.instance import Deidentified, deidentify
from nearframe.deidentify.profile import BASIC, Mask, Option, Profile, Region, options_named, read_profile
from nearframe.deidentify.pseudonyms import Pseudonyms, keyed_pseudonyms

__all__ = [
    "BASIC",
    "Deidentified",
    "Mask",
    "Option",
    "Profile",
    "Pseudonyms",
    "Region",
    "deidentify",
    "keyed_pseudonyms",
    "options_named",
    "read_profile",
]
