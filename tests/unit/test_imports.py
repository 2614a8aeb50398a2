"""House rules about imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

#: Lowest floor first. A module imports from its own part and from floors below; the words know each other.
FLOORS = (
    ("errors", "ids", "units", "clock", "context", "config", "settingkinds", "metrics", "log", "tasks"),
    ("wire",),
    ("dicom",),
    ("deidentify",),
    ("perceptual",),
    ("delta",),
    ("cache",),
    ("storage",),
    ("listener",),
    ("query",),
    ("dicomweb",),
    ("intake",),
    ("corrections",),
    ("sync", "upkeep", "dimse"),
    ("origin", "edge", "importer", "client", "demo", "hl7"),
    ("exporter",),
    ("web",),
    ("core",),
    ("dicomnode", "keeping"),
    ("app",),
    ("edgeapp", "pacsapp"),
    ("cli",),
)


def _our_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "nearframe":
            names = [f"nearframe.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.startswith("nearframe.") and name != "nearframe.__version__":
                yield name.split(".")[1]


def test_imports_point_down(root: Path) -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    source = root / "src" / "nearframe"
    for path in source.rglob("*.py"):
        here = path.relative_to(source).parts[0].removesuffix(".py")
        if here in ("__init__", "__main__"):
            continue
        for name in _our_imports(path):
            below = floor[name] < floor[here] or floor[here] == 0
            assert name == here or below, f"{path.relative_to(source)} imports {name}"


def test_architecture_page_shows_the_same_floors(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    \S.*\n)+", page, re.MULTILINE)
    assert block is not None
    shown = [re.split(r"\s{3,}", line.strip())[0].split() for line in block[0].splitlines()]
    assert [sorted(names) for names in reversed(shown)] == [sorted(names) for names in FLOORS]
