"""What we say of an object, and what DCMTK says: an independent reader of files and writer of XML."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nearframe.dicom.build import build
from nearframe.dicom.bulk import find_value
from nearframe.dicom.describe import describe
from nearframe.dicom.dicomjson import to_json
from nearframe.dicom.dicomxml import from_xml
from nearframe.dicom.model import Source
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource, FileSource, read_slices
from nearframe.errors import MalformedDICOM, MissingIdentifier
from tests.unit.dicom.objects import packaged

needs_dcmtk = pytest.mark.skipif(shutil.which("dcm2xml") is None, reason="needs DCMTK")

#: DCMTK does not read these, or reads less of them (sequences sent as UN, our reading of wrong encodings); it
#: repeats a component group before an empty one, and names one private creator for two blocks.
ITS_OWN_WAY = {
    *("chrH31.dcm", "chrH32.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrSQEncoding.dcm"),
    *("chrSQEncoding1.dcm", "chrKoreanMulti.dcm", "J2K_pixelrep_mismatch.dcm", "SC_rgb_jpeg.dcm", "UN_sequence.dcm"),
    *("rtdose_rle.dcm", "rtdose_rle_1frame.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),
    *("chrX1.dcm", "chrX2.dcm", "waveform_ecg.dcm"),
}

COMMON = [path for path in packaged() if path.name not in ITS_OWN_WAY]


def their_metadata(path: Path) -> dict[str, Any] | None:
    command = ["dcm2xml", "--native-format", "--use-xml-namespace", "--convert-to-utf8", str(path)]
    found = subprocess.run(command, capture_output=True, timeout=30, check=False)
    return from_xml(found.stdout) if found.returncode == 0 and found.stdout else None


def agree(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Check two renderings; DCMTK rounds floats, cuts empty components of names and writes big endian words."""
    for key, attribute in ours.items():
        if "BulkDataURI" in attribute or "InlineBinary" in attribute or key == "00080005":
            continue
        assert key in theirs
        assert attribute["vr"] == theirs[key]["vr"], key
        values, others = known_values(attribute), known_values(theirs[key])
        assert len(values) == len(others), key
        for one, two in zip(values, others, strict=True):
            if attribute["vr"] == "SQ":
                agree(one, two)
            else:
                assert one == (pytest.approx(two, rel=1e-6) if isinstance(one, float) else two), key


def known_values(attribute: dict[str, Any]) -> list[Any]:
    values = [known(value) if attribute["vr"] == "PN" else value for value in attribute.get("Value", [])]
    return values if any(value is not None for value in values) else []


def known(name: dict[str, str] | None) -> dict[str, str] | None:
    groups = {label: text.rstrip("^ ") for label, text in (name or {}).items()}
    return {label: text for label, text in groups.items() if text} or None


@needs_dcmtk
@pytest.mark.parametrize(
    "path", [path for path in packaged() if path.name not in ITS_OWN_WAY], ids=lambda path: path.name
)
def test_metadata_is_what_dcmtk_says(path: Path) -> None:
    theirs = their_metadata(path)
    if theirs is None:
        return
    with FileSource(path) as source:
        try:
            ours = to_json(parse(source).dataset, set())
        except MalformedDICOM:
            return
    agree(ours, theirs)


@needs_dcmtk
@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "rtplan.dcm", "examples_palette.dcm"])
def test_dcmtk_reads_what_is_built(name: str, tmp_path: Path) -> None:
    path = next(path for path in packaged() if path.name == name)
    with FileSource(path) as source:
        try:
            part10 = parse(source)
            metadata = describe(part10).metadata
        except MissingIdentifier:
            return

        def bulk(uri: str) -> list[Source]:
            slices = find_value(part10.dataset, uri).slices
            return [BytesSource(b"".join(read_slices(part10.dataset.source, slices)))]

        built = tmp_path / "built.dcm"
        built.write_bytes(b"".join(build(metadata, bulk).chunks()))
    again = their_metadata(built)
    assert again is not None
    agree(metadata, again)
    check = subprocess.run(["dcmdump", "--quiet", str(built)], capture_output=True, timeout=30, check=False)
    assert (check.returncode, check.stderr) == (0, b"")
