"""``Via`` headers."""

from nearframe.wire.via import MAX_NAMES, names_after, names_in_via, with_via


def test_names() -> None:
    assert names_in_via(["1.0 fred, 1.1 p.example.net (Apache/1.1)", "HTTP/2 edge-a"]) == [
        "fred",
        "p.example.net",
        "edge-a",
    ]
    assert names_in_via([]) == names_in_via(["", "x", ", ,"]) == []


def test_a_name_is_added_at_the_end() -> None:
    assert with_via([], "edge-a") == "1.1 edge-a"
    assert names_in_via([with_via(["1.1 edge-a"], "edge-b")]) == ["edge-a", "edge-b"]


def test_names_after_a_circle() -> None:
    assert names_after("a", ["origin", "b"]) == ["origin", "b"]
    assert names_after("a", ["c", "a", "c", "a", "b"]) == ["b"]
    assert names_after("a", []) == []
    assert len(names_after("a", [f"n{number}" for number in range(100)])) == MAX_NAMES
