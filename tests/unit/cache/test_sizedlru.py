from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nearframe.cache.sizedlru import SizedLRU


def test_the_least_recently_used_goes_first() -> None:
    cache: SizedLRU[str, int] = SizedLRU(3)
    for key in "abc":
        cache.put(key, 1, 1)
    cache.get("a")
    cache.put("d", 1, 1)
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_a_value_larger_than_the_cache_replaces_the_old_one_with_nothing() -> None:
    cache: SizedLRU[str, int] = SizedLRU(3)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.put("a", 3, 4)
    assert cache.get("a") is None
    assert cache.get("b") == 2
    assert cache.size == 1


operations = st.lists(
    st.tuples(st.sampled_from(["put", "get", "discard", "clear"]), st.integers(0, 5), st.integers(0, 12)), max_size=60
)


@given(operations, st.integers(0, 10))
def test_like_a_naive_model(steps: list[tuple[str, int, int]], capacity: int) -> None:
    cache: SizedLRU[int, int] = SizedLRU(capacity)
    model: list[tuple[int, int, int]] = []  # (key, value, size), least recently used first
    for number, (operation, key, size) in enumerate(steps):
        held = next((entry for entry in model if entry[0] == key), None)
        if operation == "clear":
            cache.clear()
            model = []
        elif operation == "discard":
            cache.discard(key)
            model = [entry for entry in model if entry[0] != key]
        elif operation == "get":
            assert cache.get(key) == (held[1] if held else None)
            if held:
                model = [entry for entry in model if entry[0] != key] + [held]
        else:
            cache.put(key, number, size)
            model = [entry for entry in model if entry[0] != key]
            if size <= capacity:
                model.append((key, number, size))
                while sum(entry[2] for entry in model) > capacity:
                    model.pop(0)
        assert cache.size == sum(entry[2] for entry in model) <= capacity
        assert len(cache) == len(model)
