"""Folders and zip files to write to."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed, ConfigurationError, NoSpace
from nearframe.exporter.places import FolderPlace, Written, ZipPlace, zip_file


def breaking() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError


def test_a_file_in_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "new" / "folder")
    written = place.write("a/b.dcm", [b"12", b"345"])
    assert written == Written("a/b.dcm", hashlib.sha256(b"12345").hexdigest(), 5)
    with pytest.raises(RuntimeError):
        place.write("a/c.dcm", breaking())
    assert [path.name for path in (place.folder / "a").iterdir()] == ["b.dcm"]


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no folder"):
        FolderPlace(tmp_path / "file" / "folder")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def full() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    place = FolderPlace(tmp_path)
    with pytest.raises(NoSpace):
        place.write("a", full())
    (tmp_path / "b").write_text("")
    with pytest.raises(BackendFailed):
        place.write("b/c", [b""])


class Pipe(io.RawIOBase):
    """Something that cannot be sought in."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def test_a_zip_file_is_written_as_it_goes() -> None:
    pipe = Pipe()
    place = ZipPlace(pipe)  # type: ignore[arg-type]
    place.write("a/b.dcm", [b"x" * 100_000, b"y"])
    before = len(pipe.data)
    assert 0 < before < 10_000
    place.write("c.dcm", [])
    place.close()
    with zipfile.ZipFile(io.BytesIO(pipe.data)) as read:
        assert read.testzip() is None
        assert {info.filename: info.file_size for info in read.infolist()} == {"a/b.dcm": 100_001, "c.dcm": 0}


def test_a_zip_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with pytest.raises(RuntimeError), zip_file(path) as place:
        place.write("a", breaking())
    assert not list(tmp_path.iterdir())
    with zip_file(path) as place:
        place.write("a", [b"1"])
        assert not path.exists()
    assert zipfile.ZipFile(path).read("a") == b"1"
    with pytest.raises(ConfigurationError, match="already"), zip_file(path):
        pass
    with pytest.raises(ConfigurationError, match="no place"), zip_file(tmp_path / "no" / "folder.zip"):
        pass
