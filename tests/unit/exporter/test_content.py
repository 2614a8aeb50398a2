"""What is written of an instance."""

from __future__ import annotations

import io
import tempfile

import pydicom
import pytest

from nearframe.deidentify import Profile, Pseudonyms
from nearframe.errors import Refused
from nearframe.exporter.content import Deidentification, as_part10, chunks, deidentified, described
from nearframe.importer.fetched import Fetched
from tests.archive import sample


def fetched(name: str) -> Fetched:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is theirs
    file.write(sample(name))
    return Fetched(file)


@pytest.mark.parametrize("name", ["rtstruct.dcm", "ExplVR_BigEndNoMeta.dcm"])
def test_what_lacks_file_meta_information_gets_one_for_media(name: str) -> None:
    bare = fetched(name)
    made = as_part10(bare)
    written = pydicom.dcmread(io.BytesIO(b"".join(chunks(made))))
    assert written.to_json_dict() == pydicom.dcmread(io.BytesIO(sample(name)), force=True).to_json_dict()
    assert written.file_meta.MediaStorageSOPInstanceUID == described(bare).identity.sop_instance_uid
    bare.close()
    made.close()


def test_others_go_as_they_are() -> None:
    whole = fetched("CT_small.dcm")
    assert as_part10(whole) is whole
    whole.close()


def test_a_copy_for_strangers_is_whole_or_not_made() -> None:
    how = Deidentification(Profile(), Pseudonyms(bytes(32)))
    original, refused = fetched("CT_small.dcm"), fetched("SC_rgb_rle.dcm")
    made, masked = deidentified(original, how)
    assert (described(made).metadata["00120062"]["Value"], masked) == (["YES"], False)
    with pytest.raises(Refused):
        deidentified(refused, how)
    for one in (original, refused, made):
        one.close()
