"""Every real study out of a running node, de-identified: nobody is named in any byte, objects are as valid as before.

Looked at are the files of a zip file and of a medium, and everything around them: names, comments, index, digests, the
DICOMDIR. Nothing that a failure says is of anybody: tags, and the number of a file.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.peers import origin
from nearframe.cli import main
from nearframe.deidentify import keyed_pseudonyms
from tests.dciodvfy import needs_dciodvfy, new_errors
from tests.identifiers import Identifier, Original, Searched, read_original

pytestmark = [
    pytest.mark.drill,
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore"),  # pydicom's, of odd objects
]


_LEAST_BYTES = 8


@dataclass(frozen=True)
class Exported:
    """What came out of the node.

    Attributes
    ----------
    stored
        A folder with every object as it is stored.
    archive, medium
        The same de-identified, with one key, in two forms.
    report
        What the command says of the zip file.
    """

    stored: Path
    archive: Path
    medium: Path
    key: Path
    report: dict[str, int]

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each object that was exported: as it is stored, and de-identified."""
        pseudonyms = keyed_pseudonyms(self.key)
        with zipfile.ZipFile(self.archive) as read:
            made = {one["instance"]: one["file"] for one in map(json.loads, read.open("index.jsonl"))}
            for one in _entries(self.stored / "index.jsonl"):
                name = made.pop(pseudonyms.uid(one["instance"]), None)
                if name is not None:
                    yield (self.stored / one["file"]).read_bytes(), read.read(name)
        assert not made, "every file is of an object"


def _entries(index: Path) -> Iterator[dict[str, str]]:
    """Yield the lines of a folder's index that are of files; the first says what kind of export it is."""
    return (one for one in map(json.loads, index.read_text(encoding="utf-8").splitlines()) if "instance" in one)


@pytest.fixture(scope="module")
def exported(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    with origin(folder / "origin", options=("--no-perceptual", "--no-renditions")) as node:
        url = node.url.removesuffix("/dicomweb")
        assert main(["import", str(data_dir), "--to", url, "--quiet"]) in (0, 1)  # some of them are no objects
        export = ["export", "--all", "--url", url, "--quiet", "--into"]
        assert main([*export, str(folder / "stored")]) == 0
        profile = folder / "profile.toml"
        profile.write_text("pixels-checked = true\n")
        deidentified = ["--deidentify", str(profile), "--key", str(folder / "key")]
        assert main([*export, str(folder / "all.zip"), "--as", "zip", *deidentified]) in (0, 1)
        assert main([*export, str(folder / "medium"), "--as", "dicomdir", *deidentified]) in (0, 1)
    found = sum(1 for _ in _entries(folder / "stored" / "index.jsonl"))
    with zipfile.ZipFile(folder / "all.zip") as read:
        written = sum(name.endswith(".dcm") for name in read.namelist())
    return Exported(
        folder / "stored",
        folder / "all.zip",
        folder / "medium",
        folder / "key",
        {"found": found, "written": written},
    )


def test_nobody_is_named_in_any_byte(exported: Exported, record_property: Callable[[str, object], None]) -> None:
    left: Counter[str] = Counter()
    looked_for = 0
    people: defaultdict[str, set[Identifier]] = defaultdict(set)
    files: list[tuple[Original, bytes]] = []
    for stored, made in exported.pairs():
        original = read_original(stored)
        looked_for += len(original.identifiers)
        left.update(original.left_in(made))
        people[original.study].update(original.of_people())
        files.append((original, made))
    # Who is named in one object of a study is not to be named in another of its objects.
    for original, made in files:
        searched = Searched(made)
        left.update(f"{one.tag:08X}" for one in people[original.study] if searched.has(one, original.terms))
    record_property("objects", f"{exported.report['found']} found, {len(files)} written")
    record_property("identifiers", looked_for)
    assert not left
    assert len(files) > 1200


def test_what_stands_around_the_files_names_nobody(exported: Exported) -> None:
    originals = (read_original(stored) for stored, _ in exported.pairs())
    identifiers = {one for original in originals for one in original.identifiers if one.written not in original.terms}
    with zipfile.ZipFile(exported.archive) as read:
        names = [info.filename for info in read.infolist()]
        assert not read.comment
        assert not any(info.comment or info.extra.strip(b"\0") for info in read.infolist() if not info.file_size >> 31)
        around = b"\0".join(
            [*(read.read(name) for name in names if not name.endswith(".dcm")), *map(str.encode, names)]
        )
    on_medium = [path.relative_to(exported.medium) for path in exported.medium.rglob("*") if path.is_file()]
    around += (exported.medium / "DICOMDIR").read_bytes() + "\0".join(map(str, on_medium)).encode()
    tags = _found_in(around, identifiers)
    assert not tags
    assert all(name.replace(".dcm", "").replace("/", "").replace("-", "").isalnum() for name in names if "dcm" in name)


def test_the_same_key_gives_the_same_files_in_another_form(exported: Exported) -> None:
    with zipfile.ZipFile(exported.archive) as read:
        zipped = sorted(read.read(name) for name in read.namelist() if name.endswith(".dcm"))
    on_medium = [path for path in exported.medium.rglob("*") if path.is_file() and path.name != "DICOMDIR"]
    assert sorted(path.read_bytes() for path in on_medium) == zipped


@needs_dciodvfy
def test_objects_are_as_valid_as_before(exported: Exported, tmp_path: Path) -> None:
    wrong: Counter[str] = Counter()
    for stored, made in exported.pairs():
        wrong.update(new_errors(stored, made, tmp_path))
    assert not wrong


def _found_in(around: bytes, identifiers: set[Identifier]) -> set[str]:
    lower = around.lower()
    # Digests and offsets have every short word in them.
    return {f"{one.tag:08X}" for one in identifiers if len(one.written) >= _LEAST_BYTES and one.written in lower}
