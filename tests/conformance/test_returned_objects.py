"""Objects come back as objects: read by DCMTK, and no worse to dciodvfy than what was sent.

Each object is stored in a running origin and retrieved twice: as it was stored, byte for byte, and in Explicit
VR Little Endian, which decodes and describes anew whatever was encoded. DCMTK's JSON of it is compared with our
metadata; dciodvfy, which checks an object against its IOD, must find no error in it that it does not find in the
original; and the samples are those that pydicom's decoders get from the original.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
import pytest_asyncio
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from nearframe.listener.testing import running
from tests.archive import TEST_FILES, Archive, open_archive, path_of
from tests.conformance.test_dcmtk_metadata import ITS_OWN_WAY, agree

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (shutil.which("dcmdump") and shutil.which("dciodvfy")), reason="needs DCMTK and dicom3tools"
    ),
    # What pydicom says of its own files.
    pytest.mark.filterwarnings("ignore"),
]

ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
#: File Meta Information, and what sums up other errors.
OF_SOMETHING_ELSE = r"\(0x0002,|Dicom dataset contains"
#: JPEG Extended of 12 bits, and two processes that were retired.
NOT_DECODED_BY_PYDICOM = (JPEGExtended12Bit, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
#: Photometric Interpretation, Planar Configuration, Lossy Image Compression, its ratio and method.
DESCRIBED_ANEW = (0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114)
#: Study and Series Instance UID, which an object without them gets from us, but not in itself.
DERIVED = ("0020000D", "0020000E")

LEFT_OUT = (
    "rtplan_truncated.dcm",  # cut short, hence refused
    "JPEG2000-embedded-sequence-delimiter.dcm",  # of a frame that nothing decodes
    "badVR.dcm",  # of "1A" frames, for pydicom
    "IM-0001-0001.dcm",  # whose NUL padding dcm2json takes for text
)

#: Of the real studies, those with many kinds of object.
FOLDERS = ("zoo", "cine", "colour-stills", "classic-vs-enhanced-philips", "pacs-rewrite-agfa", "ct-head-ge")

#: Of pydicom's files: every encoding they come in, and every kind of object.
PACKAGED = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "ExplVR_BigEnd.dcm",  # colour by plane
    "MR_small_padded.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "rtdose_rle.dcm",
    "JPEG-lossy.dcm",  # 12 bits
    "SC_rgb_dcmtk_+eb+cr.dcm",  # JPEG of RGB
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",  # JPEG of YBR_FULL
    "SC_rgb_dcmtk_+eb+cy+np.dcm",  # JPEG of YBR_FULL_422
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_rgb_jpeg_gdcm.dcm",  # JPEG Lossless
    "examples_ybr_color.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "MR_small_jp2klossless.dcm",
    "JPEG2000.dcm",  # lossy
    "examples_jpeg2k.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_palette.dcm",
    "examples_overlay.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "rtdose_expb_1frame.dcm",  # 32 bits, big endian
    "rtplan.dcm",
    "rtstruct.dcm",  # without File Meta Information
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "reportsi.dcm",
)


@dataclass(frozen=True)
class Origin:
    """A running origin and how to ask it."""

    archive: Archive
    client: httpx.AsyncClient

    async def store(self, data: bytes) -> str:
        """Store an object; return the path of the version it became, to be formatted with the resource."""
        (stored,) = await self.archive.add(data)
        return f"{path_of(stored)}%s?version={stored.version}"

    async def get(self, path: str, accept: str) -> httpx.Response:
        answer = await self.client.get(path, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Origin]:
    async with (
        open_archive(tmp_path_factory.mktemp("returned")) as archive,
        running(archive.app) as url,
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield Origin(archive, client)


@pytest.mark.parametrize("name", PACKAGED)
async def test_packaged(name: str, origin: Origin, tmp_path: Path) -> None:
    await check(origin, TEST_FILES / name, tmp_path)


@pytest.mark.data
async def test_one_of_every_kind(origin: Origin, data_dir: Path, tmp_path: Path, subtests: pytest.Subtests) -> None:
    for path in one_of_every_kind(data_dir):
        if path.name in LEFT_OUT:
            continue
        with subtests.test(path.name):
            await check(origin, path, tmp_path)


def one_of_every_kind(data: Path) -> list[Path]:
    """Return the smallest object of every SOP class, transfer syntax and way to describe pixels."""
    keywords = ["SOPInstanceUID", "SOPClassUID", "PhotometricInterpretation", "PlanarConfiguration"]
    found: dict[tuple[str, ...], Path] = {}
    paths = [path for folder in FOLDERS for path in (data / folder).rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: (path.stat().st_size, path)):
        try:
            ds = pydicom.dcmread(path, specific_tags=list(keywords))
        except (pydicom.errors.InvalidDicomError, EOFError):
            continue
        if "SOPInstanceUID" in ds and "TransferSyntaxUID" in ds.file_meta:
            kind = (ds.file_meta.TransferSyntaxUID, *(str(ds.get(keyword)) for keyword in keywords[1:]))
            found.setdefault(kind, path)
    return list(found.values())


async def check(origin: Origin, original: Path, folder: Path) -> None:
    """Store an object, retrieve it in both ways and have both looked at."""
    data = original.read_bytes()
    url = await origin.store(data)
    exact = await origin.get(url % "", "application/dicom; transfer-syntax=*")
    assert exact.content == data
    made = await origin.get(url % "", f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}")
    assert made.headers["content-type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert int(made.headers["content-length"]) == len(made.content)
    returned = folder / "returned.dcm"
    returned.write_bytes(made.content)
    metadata = (await origin.get(url % "/metadata", "application/dicom+json")).json()[0]
    await asyncio.to_thread(looked_at, original, returned, metadata)


#: A transfer syntax we write, and what of DCMTK decodes it.
ENCODED = [(JPEGLSLossless, "dcmdjpls"), (JPEGLosslessSV1, "dcmdjpeg"), (RLELossless, "dcmdrle")]
LOSSLESS = ("CT_small.dcm", "ExplVR_BigEnd.dcm", "SC_rgb_rle_16bit_2frame.dcm", "examples_palette.dcm", "image_dfl.dcm")


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize(("syntax", "tool"), ENCODED)
async def test_encoded_objects_are_decoded_by_dcmtk(
    name: str, syntax: str, tool: str, origin: Origin, tmp_path: Path
) -> None:
    original, returned, decoded = TEST_FILES / name, tmp_path / "returned.dcm", tmp_path / "decoded.dcm"
    url = await origin.store(original.read_bytes())
    returned.write_bytes((await origin.get(url % "", f"application/dicom; transfer-syntax={syntax}")).content)
    assert pydicom.dcmread(returned).file_meta.TransferSyntaxUID == syntax
    (await asyncio.to_thread(run, tool, returned, decoded)).check_returncode()
    sent = pydicom.dcmread(original)
    np.testing.assert_array_equal(pixel_array(pydicom.dcmread(decoded)), pixel_array(sent))
    assert not errors(returned) - errors(inflated(original, sent, tmp_path))


def looked_at(original: Path, returned: Path, metadata: dict[str, Any]) -> None:
    """Check what was returned against the original and what we say of it."""
    dump = run("dcmdump", "--quiet", returned)
    assert (dump.returncode, dump.stderr) == (0, b"")
    sent, got = pydicom.dcmread(original, force=True), pydicom.dcmread(returned)
    assert not errors(returned) - errors(inflated(original, sent, returned.parent))
    theirs = run("dcm2json", returned)
    if theirs.returncode == 0 and original.name not in ITS_OWN_WAY:  # it knows fewer names of character sets
        known = {tag: attribute for tag, attribute in metadata.items() if tag not in DERIVED or tag in sent}
        agree(known | described_anew(got), json.loads(theirs.stdout))
    if "PixelData" in sent:
        check_description(sent, got)
        check_samples(sent, got)


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, timeout=60, check=False)


def errors(path: Path) -> set[str]:
    """Return the errors dciodvfy finds in the data set, without their places in the file."""
    found = run("dciodvfy", path)
    lines = (found.stdout + found.stderr).decode("latin-1").splitlines()
    there = [line for line in lines if "Error" in line and not re.search(OF_SOMETHING_ELSE, line)]
    return {re.sub(r"(byte|offset) *(0x)?[0-9a-f]+", "", line) for line in there}


def inflated(original: Path, sent: pydicom.Dataset, folder: Path) -> Path:
    """Return the original; if it is deflated, which dciodvfy cannot read, inflated by DCMTK."""
    if sent.file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return original
    run("dcmconv", "+te", original, folder / "inflated.dcm").check_returncode()
    return folder / "inflated.dcm"


def described_anew(got: pydicom.Dataset) -> dict[str, Any]:
    """Return what may differ from the metadata of what is stored; `check_description` looks at it."""
    described: dict[str, Any] = {
        f"{int(got[tag].tag):08X}": got[tag].to_json_dict(None, 0) for tag in DESCRIBED_ANEW if tag in got
    }
    return described


def check_description(sent: pydicom.Dataset, got: pydicom.Dataset) -> None:
    """Check that pixels are described as native ones, and that nobody forgets they were lossy."""
    syntax = sent.file_meta.TransferSyntaxUID
    expected = sent.PhotometricInterpretation
    if syntax.is_encapsulated and expected in ("YBR_RCT", "YBR_ICT", "YBR_FULL_422"):
        expected = "RGB"
    assert got.PhotometricInterpretation == expected
    assert (got.get("PlanarConfiguration") or 0) == (sent.get("PlanarConfiguration") or 0)
    if got.get("LossyImageCompression") == sent.get("LossyImageCompression"):
        assert got.get("LossyImageCompression") == "01" or syntax not in ALWAYS_LOSSY
        assert got.get("LossyImageCompressionRatio") == sent.get("LossyImageCompressionRatio")
        assert got.get("LossyImageCompressionMethod") == sent.get("LossyImageCompressionMethod")
    else:
        assert got.LossyImageCompression == "01"
        assert got.LossyImageCompressionRatio > 1
        assert got.LossyImageCompressionMethod in ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1")


def check_samples(sent: pydicom.Dataset, got: pydicom.Dataset) -> None:
    """Compare the picture with what pydicom's decoders make of the original; lossy JPEG leaves room for rounding."""
    if sent.file_meta.TransferSyntaxUID in NOT_DECODED_BY_PYDICOM:
        return
    ours, theirs = pixel_array(got, index=0).astype(np.int64), pixel_array(sent, index=0).astype(np.int64)
    assert np.abs(ours - theirs).max() <= (2 if sent.file_meta.TransferSyntaxUID == JPEGBaseline8Bit else 0)
