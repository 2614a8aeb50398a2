"""A disk of its own for a node: it can fill up, and lose its power.

It is ext4 in a file, mounted by way of a loop device. Cutting the power stops the file system
where it is, as ``xfstests`` do it (EXT4_IOC_SHUTDOWN without a flush of its log): what was
written and not synced is gone, and mounting it again replays the journal as after a real cut.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from nearframe.storage.durable import sync_folder

_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32)
_WITHOUT_FLUSH: Final = 2
_MIB: Final = 1 << 20


class Disk:
    """A small disk, if this machine lets us mount one; else a folder that nothing happens to.

    Attributes
    ----------
    folder
        Where it is mounted.
    is_real
        Whether it is a file system of its own.
    """

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        self.is_real = False
        self._image = folder.with_suffix(".img")
        self._size_mib = size_mib

    def open(self) -> None:
        """Make it, and mount it."""
        self.folder.mkdir()
        self.is_real = os.geteuid() == 0 and self._make()

    def cut_power(self) -> None:
        """Stop: nothing is written any more, and what was not synced is lost."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def restore_power(self) -> None:
        """Go on with what is left. Nobody may have a file open."""
        _run("umount", str(self.folder))
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def fill(self) -> None:
        """Take all the room there is."""
        with (self.folder / "filler").open("wb") as filler:
            at = 0
            for step in (16 * _MIB, _MIB, 65536, 4096):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(filler.fileno(), at, step)
                        at += step

    def make_room(self) -> None:
        """Give it back, and not take it again at the next power cut."""
        (self.folder / "filler").unlink(missing_ok=True)
        sync_folder(self.folder)

    def close(self) -> None:
        if self.is_real:
            _run("umount", "-l", str(self.folder))
        self._image.unlink(missing_ok=True)

    def _make(self) -> bool:
        with self._image.open("wb") as image:
            image.truncate(self._size_mib * _MIB)
        try:
            _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
            _run("mount", "-o", "loop", str(self._image), str(self.folder))
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def flip_a_bit(packs: list[Path], rng: random.Random) -> bool:
    """Spoil one of some files; return whether there was any."""
    if not packs:
        return False
    pack = rng.choice(packs)
    with pack.open("r+b") as file:
        at = rng.randrange(pack.stat().st_size)
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
