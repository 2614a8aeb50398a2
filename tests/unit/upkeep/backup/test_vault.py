from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.errors import Busy, ConfigurationError, NotFound
from nearframe.upkeep.backup.vault import DirectoryVault


def test_a_blob_is_kept_once_and_found_again(tmp_path: Path) -> None:
    with DirectoryVault(tmp_path / "vault", create=True) as vault:
        assert vault.put("blobs/ab12", b"one")
        assert not vault.put("blobs/ab12", b"one")
        vault.put("points/20261122T194500.000001Z", b"two")
    with DirectoryVault(tmp_path / "vault") as vault:
        assert vault.names("blobs") == ["blobs/ab12"]
        assert vault.get("blobs/ab12") == b"one"
        assert vault.names("points") == ["points/20261122T194500.000001Z"]
        vault.remove("blobs/ab12")
        vault.remove("blobs/ab12")
        with pytest.raises(NotFound):
            vault.get("blobs/ab12")
        assert vault.names("blobs") == []


def test_what_a_crash_left_half_written_is_no_blob(tmp_path: Path) -> None:
    with DirectoryVault(tmp_path, create=True) as vault:
        vault.put("blobs/ab12", b"one")
        (tmp_path / "blobs" / "12" / "cd12.new").write_bytes(b"on")
        assert vault.names("blobs") == ["blobs/ab12"]


@pytest.mark.parametrize("name", ["../etc", "blobs/../../x", "blobs/a/b", "/blobs/a", "blobs/", "BLOBS/a"])
def test_only_our_own_names_become_paths(tmp_path: Path, name: str) -> None:
    with DirectoryVault(tmp_path, create=True) as vault, pytest.raises(ValueError):
        vault.put(name, b"")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with DirectoryVault(tmp_path, create=True):
        with pytest.raises(Busy):
            DirectoryVault(tmp_path, create=True)
        DirectoryVault(tmp_path).close()  # who reads need not wait
    DirectoryVault(tmp_path, create=True).close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        DirectoryVault(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="File exists"):
        DirectoryVault(tmp_path / "file", create=True)
