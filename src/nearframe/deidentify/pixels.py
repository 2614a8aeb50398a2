"""Text that is burned into pictures: refused, or blackened where a profile says it is.

A header that says nothing is believed only of machines that write their text elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nearframe.deidentify.profile import Profile, Region
from nearframe.dicom.codecs import decode_frame, is_reversible
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.dicom.native import encode_native
from nearframe.dicom.targets import decoded_description
from nearframe.dicom.transcode import TranscodedFrame
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian
from nearframe.errors import Refused

#: Modalities whose pictures are of screens, paper and rooms, or come with the patient's name in a corner.
_WITH_TEXT: Final = frozenset(
    {"BMUS", "DG", "DMS", "DOC", "EC", "ECG", "ES", "GM", "HC", "IVUS", "OP", "OPT", "OT", "SC", "US", "XC"}
)
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_SCREEN: Final = frozenset({"SCREEN SAVE", "SCREENSHOT", "SCREEN"})

_SOP_CLASS, _IMAGE_TYPE, _MODALITY = "00080016", "00080008", "00080060"
_BURNED_IN: Final = "00280301"
_OVERLAY_GROUP, _OVERLAY_BIT_POSITION, _OVERLAY_DATA = "60", "0102", "3000"


def regions_to_mask(metadata: DICOMJSON, profile: Profile) -> tuple[Region, ...]:
    """Return what to blacken in an instance's pictures, none if they may go as they are.

    Raises
    ------
    Refused
        If there is text in them, or may be.
    """
    if _has_overlay_inside(metadata):
        raise Refused("graphics lie in unused bits of its pixels")
    for mask in profile.masks:
        if all(value in _values(metadata, key) for key, value in mask.when):
            return mask.regions
    says = _values(metadata, _BURNED_IN)
    if "YES" in says:
        raise Refused("text is burned into its pixels; a profile can mask where")
    if "NO" not in says and not profile.pixels_checked and _may_have_text(metadata):
        raise Refused("text may be burned into its pixels, its header does not say; mask it, or look at it first")
    return ()


def _has_overlay_inside(metadata: DICOMJSON) -> bool:
    """Return True if an overlay is in the pixel data (retired): it has a bit position there and no data of its own."""
    groups = [key[:4] for key in metadata if key.startswith(_OVERLAY_GROUP) and key.endswith(_OVERLAY_BIT_POSITION)]
    return any(
        f"{group}{_OVERLAY_DATA}" not in metadata and _values(metadata, f"{group}{_OVERLAY_BIT_POSITION}") - {"0"}
        for group in groups
    )


def _may_have_text(metadata: DICOMJSON) -> bool:
    sop_class = next(iter(_values(metadata, _SOP_CLASS)), "")
    is_capture = sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")
    return bool(is_capture or _WITH_TEXT & _values(metadata, _MODALITY) or _SCREEN & _values(metadata, _IMAGE_TYPE))


def _values(metadata: DICOMJSON, key: str) -> set[str]:
    return {str(value) for value in metadata.get(key, {}).get("Value", ()) if value is not None}


def masked(
    frame: bytes, transfer_syntax_uid: str, pixel: PixelDescription, regions: tuple[Region, ...]
) -> TranscodedFrame:
    """Return a frame with black regions, as native little-endian samples.

    Raises
    ------
    MalformedDICOM, LimitExceeded, NotAcceptable
        As `codecs.decode_frame`.
    """
    samples = decode_frame(frame, transfer_syntax_uid, pixel).copy()
    described = replace(decoded_description(transfer_syntax_uid, pixel), vr="OW")
    for region in regions:
        samples[region.top : region.top + region.height, region.left : region.left + region.width] = _black(described)
    lossy = pixel.lossy or not is_reversible(frame, transfer_syntax_uid, pixel)
    return TranscodedFrame(encode_native(samples, described), ExplicitVRLittleEndian, described, lossy)


def _black(pixel: PixelDescription) -> int | tuple[int, ...]:
    if pixel.photometric_interpretation == "YBR_FULL":
        no_colour = 1 << pixel.bits_stored - 1  # PS3.3 C.7.6.3.1.2
        return (0, no_colour, no_colour)
    return (1 << pixel.bits_stored) - 1 if pixel.photometric_interpretation == "MONOCHROME1" else 0
