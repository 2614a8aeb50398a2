from __future__ import annotations

import base64
from typing import Any

import pytest

from nearframe.dicom.grayscale import VOIFunction, Window
from nearframe.dicom.renderparameters import RenderParameters


def numbers(*values: Any) -> dict[str, Any]:
    return {"vr": "DS", "Value": list(values)}


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def inline(data: bytes) -> dict[str, Any]:
    return {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}


WINDOW = {"00281050": numbers(40, "-600"), "00281051": numbers(400, "1500")}
RESCALE = {"00281052": numbers(-1024), "00281053": numbers(1)}


def test_classic_object() -> None:
    parameters = RenderParameters.from_metadata({"00080060": {"vr": "CS", "Value": ["CT"]}, **WINDOW, **RESCALE})
    assert parameters.modality == "CT"
    assert parameters.windows == (Window(40, 400), Window(-600, 1500))
    assert (parameters.modality_transform.slope, parameters.modality_transform.intercept) == (1, -1024)


def test_empty_metadata_gives_defaults() -> None:
    parameters = RenderParameters.from_metadata({})
    assert parameters.windows == ()
    assert parameters.aspect_ratio == 1
    assert parameters.padding is None
    assert parameters.palette is None


def test_frame_before_shared_before_top_level() -> None:
    def group(center: float) -> dict[str, Any]:
        return {"00289132": sequence({"00281050": numbers(center), "00281051": numbers(100)})}

    shared = {**group(2), "00289145": sequence({"00281052": numbers(-5), "00281053": numbers(3)})}
    metadata = {**WINDOW, "52009229": sequence(shared), "52009230": sequence(group(1), {})}
    assert RenderParameters.from_metadata(metadata, 0).windows[0].center == 1
    assert RenderParameters.from_metadata(metadata, 1).windows[0].center == 2
    assert RenderParameters.from_metadata(metadata, 9).windows[0].center == 2
    assert RenderParameters.from_metadata(metadata, 1).modality_transform.slope == 3
    del metadata["52009229"]
    assert RenderParameters.from_metadata(metadata, 1).windows[0].center == 40


@pytest.mark.parametrize(("name", "function"), [("SIGMOID", VOIFunction.SIGMOID), ("ODD", VOIFunction.LINEAR)])
def test_function_of_the_window(name: str, function: VOIFunction) -> None:
    metadata = {**WINDOW, "00281056": {"vr": "CS", "Value": [name]}}
    assert RenderParameters.from_metadata(metadata).windows[0].function is function


@pytest.mark.parametrize(
    "metadata",
    [
        {"00281050": numbers("x"), "00281051": numbers(1)},
        {"00281050": numbers(1), "00281051": numbers(0)},
        {"00281050": numbers("nan"), "00281051": numbers(1)},
        {"00281050": numbers(10**400), "00281051": numbers(1)},
        {"00281050": {"vr": "DS"}},
        {"00281050": {"vr": "UN", "InlineBinary": "AAAA"}},
        {"00281053": numbers(0), "00281052": numbers(1)},
        {"00283010": sequence({"00283002": numbers(1, 2), "00283006": inline(b"ab")})},
        {"00283010": sequence({"00283002": numbers(2, 0, 99), "00283006": inline(b"abcd")})},
        {"00283010": sequence({"00283002": numbers(2, 0, 16), "00283006": {"vr": "OW", "InlineBinary": "?"}})},
        {"00281101": numbers(4, 0, 16), "00281201": inline(b"")},
        {"00281101": numbers(4, 0, 16), **{f"0028122{n}": inline(b"\7\0\1\0") for n in (1, 2, 3)}},
        {"00280034": numbers(0, 1)},
        {"00280034": numbers(1, 100)},
        {"00282000": inline(b"no profile")},
    ],
)
def test_nonsense_is_left_out(metadata: dict[str, Any]) -> None:
    parameters = RenderParameters.from_metadata(metadata)
    assert parameters.windows == ()
    assert parameters.modality_transform.slope == 1
    assert parameters.voi_lut is None
    assert parameters.palette is None
    assert parameters.aspect_ratio == 1
    assert parameters.icc_profile is None


@pytest.mark.parametrize("data", [b"\1\0\2\0\3\0", b"\1\2\3"])
def test_voi_lut_of_words_or_bytes(data: bytes) -> None:
    metadata = {"00283010": sequence({"00283002": numbers(3, -1, 8), "00283006": inline(data)})}
    table = RenderParameters.from_metadata(metadata).voi_lut
    assert table is not None
    assert (table.entries.tolist(), table.first, table.bits) == ([1, 2, 3], -1, 8)


def test_lut_data_as_numbers() -> None:
    item = {"00283002": numbers(2, 0, 12), "00283006": {"vr": "US", "Value": [10, 4095]}}
    table = RenderParameters.from_metadata({"00283000": sequence(item)}).modality_transform.table
    assert table is not None
    assert table.entries.tolist() == [10, 4095]


def test_tables_behind_a_uri() -> None:
    metadata: dict[str, Any] = {"00281101": numbers(2, 0, 16)}
    for tag in ("00281201", "00281202", "00281203"):
        metadata[tag] = {"vr": "OW", "BulkDataURI": f"bulkdata/{tag}"}
    assert RenderParameters.from_metadata(metadata).palette is None
    asked: list[str] = []

    def read(uri: str) -> bytes:
        asked.append(uri)
        return b"\0\x10\0\x20"

    palette = RenderParameters.from_metadata(metadata, read_bulk=read).palette
    assert palette is not None
    assert palette.colours.tolist() == [[0x10] * 3, [0x20] * 3]
    assert asked == ["bulkdata/00281201", "bulkdata/00281202", "bulkdata/00281203"]


def test_segmented_palette() -> None:
    data = inline(b"\0\0\1\0\0\x10" + b"\1\0\1\0\0\x20")
    metadata = {"00281101": numbers(2, 0, 16), **{f"0028122{n}": data for n in (1, 2, 3)}}
    palette = RenderParameters.from_metadata(metadata).palette
    assert palette is not None
    assert palette.colours[:, 0].tolist() == [0x10, 0x20]


def test_padding_is_a_range_in_either_order() -> None:
    assert RenderParameters.from_metadata({"00280120": numbers(-2000)}).padding == (-2000, -2000)
    metadata = {"00280120": numbers(5), "00280121": numbers(-3)}
    assert RenderParameters.from_metadata(metadata).padding == (-3, 5)


def test_pixel_spacing_and_aspect_ratio_name_the_vertical_first() -> None:
    assert RenderParameters.from_metadata({"00280030": numbers(2.0, 1.0)}).aspect_ratio == 2
    assert RenderParameters.from_metadata({"00280034": numbers("1", "2")}).aspect_ratio == 0.5


def test_speed_of_moving_pictures() -> None:
    assert RenderParameters.from_metadata({"00181063": numbers(40)}).frame_time_ms == 40
    assert RenderParameters.from_metadata({"00180040": numbers(25)}).frame_time_ms == 40
    assert RenderParameters.from_metadata({}).frame_time_ms == 100


def test_icc_profile_of_the_optical_path() -> None:
    profile = bytes(36) + b"acsp" + bytes(88)
    metadata = {"00480105": sequence({"00282000": inline(profile)})}
    assert RenderParameters.from_metadata(metadata).icc_profile == profile
