"""Real objects of every kind through an edge: the files come back byte for byte."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from tests.integration.edge.nodes import edge_node, origin_node, until_followed

KIND = ("SOPClassUID", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated")


def instances(folder: Path, most_of_a_kind: int) -> dict[str, bytes]:
    """Return the first file of each SOP Instance UID, of each kind only some."""
    found: dict[str, bytes] = {}
    kinds: Counter[tuple[str, ...]] = Counter()
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        file = path.read_bytes()
        try:
            ds = pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID", *KIND], force=True)
            uid, syntax = ds.get("SOPInstanceUID"), ds.file_meta.get("TransferSyntaxUID")
            kind = (str(syntax), *(str(ds.get(keyword)) for keyword in KIND))
        except Exception:  # noqa: BLE001, S112 - pydicom fails in many ways on what is broken on purpose
            continue
        if uid and str(uid) not in found and kinds[kind] < most_of_a_kind:
            kinds[kind] += 1
            found[str(uid)] = file
    return found


@pytest.mark.data
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("most_of_a_kind", "least"), [(1, 60), pytest.param(1000, 200, marks=pytest.mark.drill)])
async def test_every_kind_of_object(tmp_path: Path, data_dir: Path, most_of_a_kind: int, least: int) -> None:
    files = instances(data_dir / "zoo", most_of_a_kind)
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:
        assert (await origin.try_to_store(files.values())).is_success
        found = (await origin.client.get("/dicomweb/instances", params={"limit": "5000"})).json()
        await until_followed(edge, origin)
        checked = 0
        for row in found:
            study, series, instance = (row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
            path = f"/dicomweb/studies/{study}/series/{series}/instances/{instance}"
            headers = {"Accept": "application/dicom; transfer-syntax=*"}
            theirs, ours = await origin.client.get(path, headers=headers), await edge.client.get(path, headers=headers)
            assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
            same = [await node.client.get(f"{path}/metadata") for node in (origin, edge)]
            assert same[0].json() == _with_links(same[1].json(), edge.url, origin.url)
            checked += ours.content in files.values()
        assert checked > least


def _with_links(document: object, ours: str, theirs: str) -> object:
    """Return a document with the links another node writes."""
    if isinstance(document, dict):
        return {key: _with_links(value, ours, theirs) for key, value in document.items()}
    if isinstance(document, list):
        return [_with_links(value, ours, theirs) for value in document]
    return document.replace(ours, theirs) if isinstance(document, str) else document
