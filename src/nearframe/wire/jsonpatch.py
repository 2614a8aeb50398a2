"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901): apply all of it, write a small part of it.

`apply_patch` knows the six operations. `diff` writes ``add``, ``remove`` and ``replace``
only, and picks at every level what is shorter: the changes inside a value, or the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy

from nearframe.errors import IntegrityError, MalformedRequest
from nearframe.wire.canonical import JSON, JSONObject

# A reader's stack is bounded; DICOM sequences nest a handful of levels.
MAX_DEPTH = 64
#: Characters that ``copy`` may add in all: ten copies, each of the whole document, make a thousand of it.
MAX_COPIED_CHARS = 1_000_000


class PatchTestFailed(IntegrityError):
    """A ``test`` operation found another value: the patch was made for another document."""


def parse_pointer(pointer: str) -> list[str]:
    """Read a JSON Pointer as its reference tokens.

    Raises
    ------
    MalformedRequest
        If it is not a JSON Pointer.
    """
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise MalformedRequest("a JSON Pointer is empty or starts with '/'")
    tokens = pointer.split("/")[1:]
    for token in tokens:
        if "~" in token.replace("~0", "").replace("~1", ""):
            raise MalformedRequest("a JSON Pointer has '~' only in '~0' and '~1'")
    return [token.replace("~1", "/").replace("~0", "~") for token in tokens]


def format_pointer(tokens: Sequence[str | int]) -> str:
    """Write reference tokens as a JSON Pointer."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def apply_patch(document: JSON, patch: Sequence[JSONObject]) -> JSON:
    """Return the document after all operations; the one passed in stays as it was.

    Raises
    ------
    MalformedRequest
        If the patch is malformed, nests or copies too much, or an operation's target does not exist.
    PatchTestFailed
        If a ``test`` operation does not hold.
    """
    copied = 0
    try:
        document = deepcopy(document)
        for operation in patch:
            copied += _copied(document, operation)
            if copied > MAX_COPIED_CHARS:
                raise MalformedRequest("a patch copies more than any that is meant well")
            document = _apply(document, operation)
    except RecursionError as error:
        raise MalformedRequest("a patch nests too deeply") from error
    return document


def json_equal(left: JSON, right: JSON) -> bool:
    """Compare as RFC 6902 section 4.6 does: numbers by value, ``true`` is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)


def diff(old: JSON, new: JSON) -> list[JSONObject]:
    """Return operations that turn `old` into `new`."""
    return list(_diff(old, new, (), 0))


# -- applying ----------------------------------------------------------------------------------


def _apply(document: JSON, operation: JSONObject) -> JSON:
    name = _member(operation, "op")
    path = parse_pointer(_member(operation, "path"))
    if name == "add":
        return _add(document, path, deepcopy(_value(operation)))
    if name == "remove":
        return _remove(document, path)[0]
    if name == "replace":
        return _replace(document, path, deepcopy(_value(operation)))
    if name == "test":
        if not json_equal(_get(document, path), _value(operation)):
            raise PatchTestFailed("the patch was made for another document")
        return document
    source = parse_pointer(_member(operation, "from")) if name in ("move", "copy") else []
    if name == "copy":
        return _add(document, path, deepcopy(_get(document, source)))
    if name == "move":
        # RFC 6902 section 4.4: a value cannot be moved into one of its own children.
        if path[: len(source)] == source and path != source:
            raise MalformedRequest("a value cannot be moved into itself")
        document, value = _remove(document, source)
        return _add(document, path, value)
    raise MalformedRequest("a patch operation is one of add, remove, replace, move, copy, test")


def _copied(document: JSON, operation: JSONObject) -> int:
    if _member(operation, "op") != "copy":
        return 0
    return _size(_get(document, parse_pointer(_member(operation, "from"))))


def _member(operation: JSONObject, name: str) -> str:
    value = operation.get(name) if isinstance(operation, dict) else None
    if not isinstance(value, str):
        raise MalformedRequest(f"a patch operation needs a string {name!r}")
    return value


def _value(operation: JSONObject) -> JSON:
    if "value" not in operation:
        raise MalformedRequest("a patch operation lacks its value")
    return operation["value"]


def _index(container: list[JSON], token: str, *, end: int) -> int:
    # RFC 6901 section 4: digits without a leading zero.
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token[0] == "0"):
        raise MalformedRequest("an array index is a plain number")
    if len(token) > len(str(end)) or int(token) >= end:
        raise MalformedRequest("an array index lies outside the array")
    return int(token)


def _get(document: JSON, path: Sequence[str]) -> JSON:
    for token in path:
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(document, token, end=len(document))]
        else:
            raise MalformedRequest("the patch names a place that is not there")
    return document


def _add(document: JSON, path: Sequence[str], value: JSON) -> JSON:
    if not path:
        return value
    parent, key = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[key] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if key == "-" else _index(parent, key, end=len(parent) + 1), value)
    else:
        raise MalformedRequest("the patch adds to what is neither object nor array")
    return document


def _remove(document: JSON, path: Sequence[str]) -> tuple[JSON, JSON]:
    value = _get(document, path)
    if not path:
        return None, value
    parent = _get(document, path[:-1])
    del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]
    return document, value


def _replace(document: JSON, path: Sequence[str], value: JSON) -> JSON:
    _get(document, path)
    if not path:
        return value
    parent = _get(document, path[:-1])
    parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = value
    return document


# -- writing -----------------------------------------------------------------------------------

_Path = tuple[str | int, ...]


def _diff(old: JSON, new: JSON, path: _Path, depth: int) -> Iterator[JSONObject]:
    if json_equal(old, new):
        return
    whole = {"op": "replace", "path": format_pointer(path), "value": new}
    if depth >= MAX_DEPTH:
        yield whole
        return
    if isinstance(old, dict) and isinstance(new, dict):
        inside = list(_diff_objects(old, new, path, depth))
    elif isinstance(old, list) and isinstance(new, list):
        inside = list(_diff_arrays(old, new, path, depth))
    else:
        yield whole
        return
    # At the root even a longer patch is preferred: its places are what a reader wants to see.
    yield from inside if depth == 0 or _size(inside) < _size([whole]) else [whole]


def _diff_objects(old: JSONObject, new: JSONObject, path: _Path, depth: int) -> Iterator[JSONObject]:
    for key in old:
        if key not in new:
            yield {"op": "remove", "path": format_pointer((*path, key))}
    for key, value in new.items():
        if key in old:
            yield from _diff(old[key], value, (*path, key), depth + 1)
        else:
            yield {"op": "add", "path": format_pointer((*path, key)), "value": value}


def _diff_arrays(old: list[JSON], new: list[JSON], path: _Path, depth: int) -> Iterator[JSONObject]:
    """Compare item by item; where lengths differ, first what both ends have in common."""
    if len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _diff(before, after, (*path, index), depth + 1)
        return
    head = _common_length(old, new)
    tail = _common_length(old[head:][::-1], new[head:][::-1])
    removed, added = old[head : len(old) - tail], new[head : len(new) - tail]
    shared = min(len(removed), len(added))
    for index in range(head, head + shared):
        yield from _diff(old[index], new[index], (*path, index), depth + 1)
    # From the end, so that each index still means what it says.
    for index in range(head + len(removed) - 1, head + shared - 1, -1):
        yield {"op": "remove", "path": format_pointer((*path, index))}
    for index in range(head + shared, head + len(added)):
        yield {"op": "add", "path": format_pointer((*path, index)), "value": new[index]}


def _common_length(left: list[JSON], right: list[JSON]) -> int:
    for index, (before, after) in enumerate(zip(left, right, strict=False)):
        if not json_equal(before, after):
            return index
    return min(len(left), len(right))


def _size(value: JSON) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
