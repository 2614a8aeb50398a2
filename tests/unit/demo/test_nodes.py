"""A node of the demonstration is never mistaken for another program's."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nearframe.demo.nodes import DemoNode
from nearframe.errors import ConfigurationError


def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        node = DemoNode("origin", tmp_path / "origin", f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigurationError, match="listens at"):
            node.start()
