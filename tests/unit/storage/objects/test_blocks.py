"""The cache of blocks, against a naive model."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path

from nearframe.storage.objects.blocks import BLOCK_BYTES, BlockCache, BlockKey


def content(key: BlockKey) -> bytes:
    return bytes([key.object_id, key.number]) * (500 + key.number)


def held(cache: BlockCache, key: BlockKey) -> bytes | None:
    buffer = bytearray(BLOCK_BYTES)
    done = cache.read_into(key, 0, memoryview(buffer))
    return None if done is None else bytes(buffer[:done])


def test_it_holds_what_was_used_last(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, 5 * BLOCK_BYTES + 1)
    model: OrderedDict[BlockKey, bytes] = OrderedDict()
    chance = random.Random(7)
    for _ in range(3000):
        key = BlockKey(chance.randrange(4), chance.randrange(4))
        match chance.randrange(5):
            case 0 | 1:
                cache.put(key, content(key))
                if key not in model:
                    model[key] = content(key)
                    if len(model) > 5:
                        model.popitem(last=False)
            case 2:
                cache.discard(key)
                model.pop(key, None)
            case _:
                assert held(cache, key) == model.get(key)
                if key in model:
                    model.move_to_end(key)
        assert len(cache) == len(model)


def test_parts_of_a_block(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, BLOCK_BYTES)
    key = BlockKey(1, 0)
    cache.put(key, b"0123456789")
    buffer = bytearray(4)
    assert cache.read_into(key, 3, memoryview(buffer)) == 4
    assert buffer == b"3456"
    assert cache.read_into(key, 8, memoryview(buffer)) == 2
    assert cache.read_into(key, 3, memoryview(buffer), waits=False) == 4


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, BLOCK_BYTES - 1)
    cache.put(BlockKey(1, 0), b"x")
    assert held(cache, BlockKey(1, 0)) is None


def test_its_file_has_no_name(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, BLOCK_BYTES)
    cache.put(BlockKey(1, 0), b"x")
    assert list(tmp_path.iterdir()) == []
