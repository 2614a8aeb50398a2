"""A file, and what is left of it for strangers.

The file is written anew: preamble and file meta information are ours, text is UTF-8, the transfer
syntax that of the pixels, or Explicit VR Little Endian where these are native or were masked.
Frames are copied as they are encoded, without what writers left beside the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.deidentify.comments import without_comments
from nearframe.deidentify.metadata import deidentified
from nearframe.deidentify.pixels import masked, regions_to_mask
from nearframe.deidentify.profile import Profile, Region
from nearframe.deidentify.pseudonyms import Pseudonyms
from nearframe.dicom import notes
from nearframe.dicom.build import BuiltFile, build
from nearframe.dicom.bulk import PIXEL_DATA_TAGS, find_value
from nearframe.dicom.element import EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS, PIXEL_DATA, Part10
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON, Source, SplitInstance
from nearframe.dicom.part10 import parse
from nearframe.dicom.redescribe import redescribed
from nearframe.dicom.reencode import Changes
from nearframe.dicom.source import JoinedSource, MadeSource, PartSource, SwappedSource
from nearframe.dicom.split import split_parsed
from nearframe.dicom.transcode import TranscodedFrame
from nearframe.dicom.transfersyntax import Codec, ExplicitVRLittleEndian, transfer_syntax
from nearframe.errors import Refused

_PIXEL_DATA_KEY: Final = f"{PIXEL_DATA:08X}"
_PIXEL_KEYS: Final = frozenset(f"{tag:08X}" for tag in PIXEL_DATA_TAGS)
_OFFSET_TABLES: Final = frozenset(f"{tag:08X}" for tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS))
_DOCUMENT: Final = "00420011"
_BURNED_IN_ANNOTATION: Final = "00280301"


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified file.

    Attributes
    ----------
    file
        Ready to be written, while the source that it was made from is open.
    metadata
        As in the file.
    masked
        True if regions of its pictures were blackened.
    """

    file: BuiltFile
    metadata: DICOMJSON
    masked: bool


def deidentify(source: Source, profile: Profile, pseudonyms: Pseudonyms, limits: Limits | None = None) -> Deidentified:
    """De-identify a Part 10 file.

    Raises
    ------
    Refused
        If it may tell who it is of in a way that nothing here can clean.
    MalformedDICOM, LimitExceeded, MissingIdentifier
        If it cannot be read, or a frame to be masked not decoded.
    """
    limits = limits or Limits()
    part10 = parse(source, limits)
    instance = split_parsed(part10, limits)
    has_pixels = not _PIXEL_KEYS.isdisjoint(instance.metadata)
    _refuse_what_cannot_be_cleaned(instance, has_pixels)
    regions = regions_to_mask(instance.metadata, profile) if has_pixels else ()
    pixels = _Pixels(part10, instance)
    metadata = deidentified(instance.metadata, profile, pseudonyms, has_clean_pixels=bool(regions))
    metadata = {key: attribute for key, attribute in metadata.items() if key not in _OFFSET_TABLES}
    if regions:
        metadata |= pixels.mask(regions)
        metadata[_BURNED_IN_ANNOTATION] = {"vr": "CS", "Value": ["NO"]}
    return Deidentified(build(metadata, pixels.lookup, pixels.transfer_syntax_uid, limits), metadata, bool(regions))


def _refuse_what_cannot_be_cleaned(instance: SplitInstance, has_pixels: bool) -> None:
    if _DOCUMENT in instance.metadata:
        raise Refused("it is a document: what that says cannot be cleaned")
    syntax = transfer_syntax(instance.transfer_syntax_uid)
    if not has_pixels:
        return
    if syntax.codec is Codec.OTHER and not syntax.encapsulated:
        raise Refused("its pixels are elsewhere")
    if syntax.encapsulated and not instance.frame_pieces and not syntax.is_video:
        raise Refused("its frames cannot be told apart")


class _Pixels:
    """The bulk values of one instance, as the new file needs them."""

    def __init__(self, part10: Part10, instance: SplitInstance) -> None:
        self._part10 = part10
        self._instance = instance
        self._syntax = transfer_syntax(instance.transfer_syntax_uid)
        self._regions: tuple[Region, ...] = ()
        self._masked_bytes = 0
        is_kept = self._syntax.encapsulated and instance.metadata.keys() & _PIXEL_KEYS
        self.transfer_syntax_uid = instance.transfer_syntax_uid if is_kept else ExplicitVRLittleEndian

    def mask(self, regions: tuple[Region, ...]) -> DICOMJSON:
        """Mask every frame from now on, and return what the metadata has to say of them."""
        frames = [self._instance.pieces[index] for index in self._instance.frame_pieces]
        if not frames or notes.FRAMES_NOT_ALIGNED in self._instance.notes:
            raise Refused("its frames cannot be masked")
        self._regions = regions
        example = self._masked(self._frames()[0])
        self._masked_bytes = len(example.encoded)
        self.transfer_syntax_uid = ExplicitVRLittleEndian
        stored_bytes = sum(frame.length for frame in frames)
        uid = self._instance.transfer_syntax_uid
        return _as_json(redescribed(self._part10.dataset, uid, stored_bytes, example, len(frames)))

    def lookup(self, uri: str) -> Sequence[Source]:
        """Find what a BulkDataURI of the metadata names."""
        if uri.rpartition("/")[2] != _PIXEL_DATA_KEY or uri.count("/") > 1:
            return (self._value(uri),)
        if self._regions:
            made = [MadeSource(self._masked_bytes, partial(self._masked_bytes_of, one)) for one in self._frames()]
            return (JoinedSource(made),)
        if not self._syntax.encapsulated:
            return (self._native(uri),)
        if self._syntax.is_video:
            return (self._value(uri),)
        return [MadeSource(one.size, partial(_cleaned, one)) for one in self._frames()]

    def _value(self, path: str) -> Source:
        value = find_value(self._part10.dataset, path)
        source = self._part10.dataset.source
        joined = JoinedSource([PartSource(source, one.offset, one.length) for one in value.slices])
        return joined if value.swapped_bytes == 1 else SwappedSource(joined, value.swapped_bytes)

    def _native(self, path: str) -> Source:
        """Return native pixel data, ending with its last frame."""
        value = find_value(self._part10.dataset, path)
        (where,) = value.slices
        frames = [] if notes.FRAMES_NOT_ALIGNED in self._instance.notes else self._frames()
        length = sum(frame.size for frame in frames) or where.length
        pixel = self._instance.pixel
        source = PartSource(self._part10.dataset.source, where.offset, min(where.length, length + length % 2))
        if not self._syntax.big_endian_pixels or pixel is None:
            return source
        # In big endian all bytes of a sample are reversed, though the VR says words; a byte is one of two in a word.
        word_bytes = max(pixel.bits_allocated // 8, 2 if value.vr == "OW" else 1)
        return SwappedSource(source, word_bytes)

    def _frames(self) -> list[Source]:
        source = self._part10.dataset.source
        return [
            JoinedSource([PartSource(source, one.offset, one.length) for one in self._instance.pieces[index].slices])
            for index in self._instance.frame_pieces
        ]

    def _masked(self, frame: Source) -> TranscodedFrame:
        if self._instance.pixel is None:
            raise Refused("its frames cannot be masked")
        whole = frame.read(0, frame.size)
        return masked(whole, self._instance.transfer_syntax_uid, self._instance.pixel, self._regions)

    def _masked_bytes_of(self, frame: Source) -> bytes:
        return self._masked(frame).encoded


def _cleaned(frame: Source) -> bytes:
    return without_comments(frame.read(0, frame.size))


def _as_json(changes: Changes) -> DICOMJSON:
    """Return what `redescribed` says as metadata: texts, and numbers of VR US."""
    return {
        f"{tag:08X}": {"vr": vr, "Value": [int.from_bytes(value, "little") if vr == "US" else value.decode("ascii")]}
        for tag, (vr, value) in changes.items()
    }
