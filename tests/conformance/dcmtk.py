"""DCMTK's commands, by their full paths: other software installs commands of the same names."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pydicom
import pytest

from bench.peers import free_port

COMMANDS = Path("/usr/bin")
needs_dcmtk = pytest.mark.skipif(not (COMMANDS / "storescu").exists(), reason="needs DCMTK")


def run(command: str, *arguments: object, code: int | None = 0) -> str:
    """Run a command to its end, and return what it says; None for any exit code."""
    done = subprocess.run(
        [COMMANDS / command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    said = done.stdout.decode("utf-8", "replace")
    assert code in (None, done.returncode), said
    return said


def ask(command: str, port: int, *arguments: object, called: str = "NEARFRAME", code: int | None = 0) -> str:
    """Run a command against a node of this machine; its name for itself is the command's, in capitals."""
    return run(command, "-aet", command.upper(), "-aec", called, "127.0.0.1", port, *arguments, code=code)


@contextmanager
def storescp(folder: Path, *options: object, port: int | None = None) -> Iterator[int]:
    """Have a receiver write what it is sent into a folder, byte for byte; its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [COMMANDS / "storescp", "+B", "+xa", "-pm", "-od", folder, *options, port]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                raise
        else:
            return


@contextmanager
def wlmscpfs(folder: Path, title: str, item: pydicom.Dataset) -> Iterator[int]:
    """Have a worklist of one item answered; its port."""
    (folder / title).mkdir(parents=True)
    (folder / title / "lockfile").touch()
    item.save_as(folder / title / "item.wl", implicit_vr=False, little_endian=True, enforce_file_format=False)
    port = free_port()
    command = [COMMANDS / "wlmscpfs", "--disable-file-reject", "-dfp", folder, port]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()
