"""Rows to columns and back: what instances share stands once, what differs stands in arrays.

A column of plain values is the value itself where all rows have it, else an array with one
item per row. A column of DICOM JSON attributes is::

    {"vr": "DS", "Value": [[1.5], null, [2.5]]}     all rows that have the attribute: this VR, a Value
    {"each": [{"vr": "PN"}, null, ...]}             any other mixture

with null where a row lacks the attribute. Values are compared as Python compares them, in
which ``1 == 1.0`` (the same JSON number) and ``1 == True`` (DICOM JSON has no booleans,
PS3.18 Annex F).
"""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.wire.canonical import JSON, JSONObject


def pack_column(values: Sequence[JSON]) -> JSON:
    """Return the one value of all rows, or an array. The values themselves are no arrays of equal meaning."""
    if values and not isinstance(values[0], list) and all(value == values[0] for value in values):
        return values[0]
    return list(values)


def unpack_column(column: JSON, count: int) -> Sequence[JSON]:
    """Return one value per row.

    Raises
    ------
    ValueError
        If the column has another number of rows.
    """
    if not isinstance(column, list):
        return [column] * count
    if len(column) != count:
        raise ValueError("a column has another length")
    return column


def shared_attributes(rows: Sequence[JSONObject]) -> JSONObject:
    """Return the attributes that all rows have with the same value."""
    if not rows:
        return {}
    first, *others = rows
    return {tag: value for tag, value in first.items() if all(other.get(tag) == value for other in others)}


def pack_attributes(rows: Sequence[JSONObject], shared: JSONObject) -> JSONObject:
    """Return the columns of all attributes that are not shared, by ascending tag."""
    tags = sorted({tag for row in rows for tag in row if tag not in shared})
    return {tag: _pack_attribute([row.get(tag) for row in rows]) for tag in tags}


def unpack_attributes(columns: JSONObject, count: int) -> list[JSONObject]:
    """Return the attributes of each row: the inverse of `pack_attributes`."""
    rows: list[JSONObject] = [{} for _ in range(count)]
    for tag, column in columns.items():
        for row, value in zip(rows, _unpack_attribute(column, count), strict=True):
            if value is not None:
                row[tag] = value
    return rows


def _pack_attribute(values: Sequence[JSONObject | None]) -> JSONObject:
    present = [value for value in values if value is not None]
    vr = present[0].get("vr")
    if all(value.keys() == {"vr", "Value"} and value["vr"] == vr for value in present):
        return {"vr": vr, "Value": [None if value is None else value["Value"] for value in values]}
    return {"each": list(values)}


def _unpack_attribute(column: JSONObject, count: int) -> Sequence[JSONObject | None]:
    if "each" in column:
        return unpack_column(column["each"], count)
    vr = column["vr"]
    return [None if value is None else {"vr": vr, "Value": value} for value in unpack_column(column["Value"], count)]
