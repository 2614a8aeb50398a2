"""RFC 6902: the examples of its Appendix A, hostile patches, and what `diff` promises."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.wire.jsonpatch import (
    PatchTestFailed,
    apply_patch,
    diff,
    format_pointer,
    json_equal,
    parse_pointer,
)

# (document, patch, result), RFC 6902 Appendix A, by section.
APPENDIX_A: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
    # Not in the appendix: the whole document, copies, and null as a value.
    ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    ({"a": 1}, [{"op": "remove", "path": ""}], None),
    ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/0", "value": 0}],
     {"a": [1], "b": [0, 1]}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ({"": {"": 1}}, [{"op": "replace", "path": "//", "value": 2}], {"": {"": 2}}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "patch", "result"), APPENDIX_A)
def test_appendix_a(document: Any, patch: list[dict[str, Any]], result: Any) -> None:
    before = deepcopy(document)
    assert apply_patch(document, patch) == result
    assert document == before


@pytest.mark.parametrize(
    "test", [("/baz", "bar"), ("/~01", "10"), ("/one", True), ("/list", [1, 2]), ("/map", {"a": 1, "b": 2})]
)
def test_a_test_that_does_not_hold(test: tuple[str, Any]) -> None:
    document = {"baz": "qux", "~1": 10, "one": 1, "list": [1], "map": {"a": 1}}
    with pytest.raises(PatchTestFailed):
        apply_patch(document, [{"op": "test", "path": test[0], "value": test[1]}])


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/baz/bat", "value": "qux"},
        {"op": "remove", "path": "/nowhere"},
        {"op": "replace", "path": "/nowhere", "value": 1},
        {"op": "test", "path": "/nowhere", "value": 1},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "replace", "path": "/list/2", "value": 1},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "replace", "path": "/list/00", "value": 1},
        {"op": "replace", "path": "/list/-1", "value": 1},
        {"op": "replace", "path": "/list/²", "value": 1},
        {"op": "replace", "path": "/list/" + "9" * 5000, "value": 1},
        {"op": "add", "path": "/foo/x", "value": 1},
        {"op": "add", "path": "foo", "value": 1},
        {"op": "add", "path": "/~2", "value": 1},
        {"op": "add", "path": "/foo"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "move", "path": "/list"},
        {"op": "spring", "path": "/foo"},
        {"path": "/foo"},
        {"op": "remove", "path": 1},
        "remove",
    ],
)
def test_malformed_operations(operation: Any) -> None:
    with pytest.raises(MalformedRequest):
        apply_patch({"foo": "bar", "list": [1, 2]}, [operation])


def test_copies_do_not_multiply() -> None:
    doubled = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(40)]
    with pytest.raises(MalformedRequest, match="copies"):
        apply_patch({"a": "x" * 1000}, doubled)


def test_what_nests_too_deeply() -> None:
    nested: Any = []
    for _ in range(950):
        nested = [nested]
    with pytest.raises(MalformedRequest, match="nests"):
        apply_patch({"a": nested}, [{"op": "add", "path": "/b", "value": 1}])


@given(st.lists(st.text()))
def test_pointers_read_back(tokens: list[str]) -> None:
    assert parse_pointer(format_pointer(tokens)) == tokens


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(alphabet="ab~/0", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet="ab~/0", max_size=2), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(json_values, json_values)
def test_a_diff_applied_gives_the_new_document(old: Any, new: Any) -> None:
    patch = diff(old, new)
    assert json_equal(apply_patch(old, patch), new)
    assert (patch == []) == json_equal(old, new)
    assert {operation["op"] for operation in patch} <= {"add", "remove", "replace"}


def test_a_change_inside_is_written_inside() -> None:
    old = {"common": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}, "vary": list(range(1000))}
    new = deepcopy(old)
    new["common"]["00100010"]["Value"][0]["Alphabetic"] = "B"  # type: ignore[index]
    assert diff(old, new) == [{"op": "replace", "path": "/common/00100010/Value/0/Alphabetic", "value": "B"}]


def test_a_column_that_is_all_new_is_replaced_whole() -> None:
    old, new = {"c": [f"old {i}" for i in range(50)]}, {"c": [f"new {i}" for i in range(50)]}
    assert diff(old, new) == [{"op": "replace", "path": "/c", "value": new["c"]}]


def test_an_insertion_moves_nothing_else() -> None:
    old = {"c": [[i] for i in range(20)]}
    new = {"c": [*old["c"][:7], ["x"], ["y"], *old["c"][7:]]}
    assert diff(old, new) == [
        {"op": "add", "path": "/c/7", "value": ["x"]},
        {"op": "add", "path": "/c/8", "value": ["y"]},
    ]
