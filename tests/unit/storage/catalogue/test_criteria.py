from __future__ import annotations

import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.storage.catalogue.criteria import Pattern

_texts = st.text(alphabet="ab*?%_\\é", max_size=8)
_values = st.text(alphabet="ab%_\\é", max_size=8)


@given(_texts, _values)
def test_matching_means_what_a_regular_expression_means(text: str, value: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in text)
    assert Pattern(text).matches(value) is (re.fullmatch(expression, value, re.DOTALL) is not None)


@given(_texts, _values)
def test_sql_means_the_same(text: str, value: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA case_sensitive_like=ON")
    [found] = database.execute("SELECT ? LIKE ? ESCAPE '\\'", (value, Pattern(text).like)).fetchone()
    database.close()
    assert bool(found) is Pattern(text).matches(value)


@given(_texts, _values)
def test_a_match_begins_with_the_prefix_and_contains_the_grams(text: str, value: str) -> None:
    pattern = Pattern(text)
    if pattern.matches(value):
        assert value.startswith(pattern.prefix)
        assert all(gram in value for gram in pattern.grams)


@pytest.mark.parametrize(
    ("text", "prefix", "grams", "literal"),
    [
        ("smith", "smith", ["smi", "mit", "ith"], True),
        ("smi*", "smi", ["smi"], False),
        ("*mith*jo*", "", ["mit", "ith"], False),
        ("s?ith", "s", ["ith"], False),
        ("", "", [], True),
    ],
)
def test_what_can_be_looked_up(text: str, prefix: str, grams: list[str], literal: bool) -> None:
    pattern = Pattern(text)
    assert (pattern.prefix, pattern.grams, pattern.is_literal) == (prefix, grams, literal)


def test_many_stars_do_not_multiply() -> None:
    assert not Pattern("*a" * 128).matches("a" * 127)
    assert Pattern("*a" * 128).matches("a" * 128)
