"""The inverted index of studies: what a database's ordered index cannot find by itself.

``*mit*`` has no prefix to look up, a fuzzy name has to be tried word by word and by sound,
and a study has several modalities. Each becomes rows ``(field, value) -> study``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from nearframe.dicom.model import DICOMJSON
from nearframe.storage.catalogue import attributes as read
from nearframe.storage.catalogue.text import fold, grams, sound, words


class Field(IntEnum):
    """What a term is of. The numbers are on disk: never renumber."""

    PATIENT_NAME = 1
    PATIENT_NAME_WORD = 2
    PATIENT_NAME_SOUND = 3
    PATIENT_NAME_GRAM = 4
    REFERRING_NAME = 5
    REFERRING_NAME_WORD = 6
    REFERRING_NAME_SOUND = 7
    REFERRING_NAME_GRAM = 8
    PATIENT_ID_GRAM = 9
    ACCESSION_GRAM = 10
    DESCRIPTION_GRAM = 11
    MODALITY = 12
    SOP_CLASS = 13
    PATIENT_ID = 14
    ACCESSION = 15


Term = tuple[Field, str]

#: For each text: the whole of it, fragments.
TEXT_FIELDS: Final = {
    "00100020": (Field.PATIENT_ID, Field.PATIENT_ID_GRAM),
    "00080050": (Field.ACCESSION, Field.ACCESSION_GRAM),
}
#: For each name: whole groups, words, sounds, fragments.
NAME_FIELDS: Final = {
    "00100010": (
        Field.PATIENT_NAME,
        Field.PATIENT_NAME_WORD,
        Field.PATIENT_NAME_SOUND,
        Field.PATIENT_NAME_GRAM,
    ),
    "00080090": (
        Field.REFERRING_NAME,
        Field.REFERRING_NAME_WORD,
        Field.REFERRING_NAME_SOUND,
        Field.REFERRING_NAME_GRAM,
    ),
}


def study_terms(attributes: DICOMJSON, modalities: Iterable[str], sop_classes: Iterable[str]) -> set[Term]:
    """Return every term of a study."""
    terms: set[Term] = {(Field.MODALITY, modality) for modality in modalities}
    terms |= {(Field.SOP_CLASS, uid) for uid in sop_classes}
    for tag, (whole, part) in TEXT_FIELDS.items():
        if text := read.string(attributes, tag):
            terms.add((whole, text))
            terms |= {(part, gram) for gram in grams(text)}
    terms |= {(Field.DESCRIPTION_GRAM, gram) for gram in grams(fold(read.string(attributes, "00081030")))}
    for tag, fields in NAME_FIELDS.items():
        for group in read.name(attributes, tag):
            terms |= _name_terms(group, *fields)
    return terms


def _name_terms(group: str, whole: Field, word: Field, alike: Field, gram: Field) -> set[Term]:
    if not group:
        return set()
    parts = words(group)
    terms: set[Term] = {(whole, group)}
    terms |= {(word, part) for part in parts}
    terms |= {(alike, code) for part in parts if (code := sound(part)) is not None}
    return terms | {(gram, run) for run in grams(group)}
