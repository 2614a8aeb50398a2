"""One node for all peers of other makers, and what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bench.peers import free_port
from tests.conformance.dimse_nodes import DicomNode, dicom_node
from tests.conformance.stock import Item, write_stock

_CALLERS = ("ECHOSCU", "STORESCU", "DCMSEND", "FINDSCU", "MOVESCU", "GETSCU", "PYNETDICOM", "NEARFRAME")


@dataclass(frozen=True)
class Ports:
    """Where peers listen that the node knows, each by the title of its attribute in capitals."""

    receiver: int
    orthanc: int


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return write_stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="session")
def ports() -> Ports:
    return Ports(free_port(), free_port())


@pytest.fixture(scope="session")
def node(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomNode]:
    listening = [
        {"ae_title": "RECEIVER", "host": "127.0.0.1", "port": ports.receiver},
        {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": ports.orthanc},
    ]
    callers = [{"ae_title": title} for title in _CALLERS]
    with dicom_node(tmp_path_factory.mktemp("node") / "home", [*callers, *listening]) as node:
        yield node
