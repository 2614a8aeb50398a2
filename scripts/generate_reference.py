"""Write the reference pages that are made from the code: settings, metrics, errors, HTTP API and so on."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from nearframe import errors  # noqa: E402
from nearframe.cli import build_parser  # noqa: E402
from nearframe.config import SETTINGS  # noqa: E402
from nearframe.corrections import holds_http  # noqa: E402
from nearframe.corrections import http as corrections_http  # noqa: E402
from nearframe.dicom import notes  # noqa: E402
from nearframe.dicom.limits import bounds  # noqa: E402
from nearframe.dicomweb.endpoint import prose_of  # noqa: E402
from nearframe.dimse import worklist_http  # noqa: E402
from nearframe.edge import api as edge_api  # noqa: E402
from nearframe.edge import outbox_http, segments  # noqa: E402
from nearframe.hl7 import http as hl7_http  # noqa: E402
from nearframe.metrics import METRICS  # noqa: E402
from nearframe.origin.api import endpoints  # noqa: E402
from nearframe.sync import directory_http  # noqa: E402
from nearframe.sync.app import ROUTES  # noqa: E402
from nearframe.upkeep import http as upkeep_http  # noqa: E402
from nearframe.upkeep import purge_http  # noqa: E402
from nearframe.upkeep.retention import http as retention_http  # noqa: E402

_NODE_ROUTES = (
    ("GET", "/", "The study page."),
    (
        "GET",
        "/worker/{name}",
        "The service worker ([browser](../guide/browser.md)), and `register.js` that puts it in charge.",
    ),
    ("GET", "/ready", "Whether a balancer should send requests here: 503 while it stops, or cannot serve."),
    ("GET", "/healthz", "Whether the node is well, and if not, why: 200 if it serves, 503 if it cannot."),
    ("GET", "/metrics", "What it counts ([metrics.md](metrics.md)), for Prometheus."),
    ("GET", "/openapi.json", "DICOMweb and what is beside it as OpenAPI."),
    *((one.method, one.path, one.prose) for one in directory_http.DESCRIBED),
    *((one.method, one.path, one.prose) for one in upkeep_http.DESCRIBED),
)

_NOTE = "<!-- Made by scripts/generate_reference.py from the code; a test checks that it is current. -->"


def settings_page() -> Iterator[str]:
    """Yield the lines of ``settings.md``."""
    yield from ("# Settings", "", _NOTE, "")
    yield "A setting is taken from, later ones winning: its default, `nearframe.toml` (in the current folder, or the"
    yield "file named by `--config` or `NEARFRAME_CONFIG`), the environment, the command line. The file is a flat"
    yield "table: `search_limit = 500`. Sizes are written `64 MiB`, `1.5 GB` or in bytes."
    for group in dict.fromkeys(setting.group for setting in SETTINGS):
        yield from ("", f"## {group.capitalize()}", "", "| setting | value | default | meaning |", "|---|---|---|---|")
        for one in SETTINGS:
            if one.group == group:
                value = f"{one.kind.name} ({one.unit})" if one.unit else one.kind.name
                default = one.kind.show(one.default)
                yield (
                    f"| `{one.name}`<br>`{one.option}`<br>`{one.variable}` | {value.replace('|', ', ')} "
                    f"| {f'`{default}`' if default else ''} | {one.prose} |"
                )


def metrics_page() -> Iterator[str]:
    """Yield the lines of ``metrics.md``."""
    yield from ("# Metrics", "", _NOTE, "")
    yield "`GET /metrics` answers in the Prometheus text format. Labels have few, fixed values and never hold an"
    yield "identifier."
    yield from ("", "| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|")
    for one in METRICS:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.full_name}` | {one.kind.value} | {one.unit} | {labels} | {one.prose} |"


def errors_page() -> Iterator[str]:
    """Yield the lines of ``errors.md``."""
    yield from ("# Errors", "", _NOTE, "")
    yield "Over HTTP an error is `application/problem+json` (RFC 9457); `type` ends in the error's name. STOW answers"
    yield "carry the failure reason (PS3.18 table I.2-2); the command line exits with the code."
    yield from ("", "| error | HTTP | failure reason | exit | meaning |", "|---|---|---|---|---|")
    for one in _error_classes():
        meaning = prose_of(one)
        yield f"| `{one.__name__}` | {one.http_status} | 0x{one.failure_reason:04X} | {one.exit_code} | {meaning} |"


def http_api_page() -> Iterator[str]:
    """Yield the lines of ``http-api.md``."""
    yield from ("# HTTP API", "", _NOTE, "")
    yield "DICOMweb is described in [dicomweb.md](dicomweb.md) and, for programs, at `/openapi.json`. Errors are listed"
    yield "in [errors.md](errors.md). HEAD works wherever GET does. The header `nearframe-tenant` names a tenant other"
    yield "than the node's own."
    yield from ("", "## Every node", "", *_route_table(_NODE_ROUTES))
    yield from ("", "## Looking after an archive", "", "At an origin; of these an edge answers `/api/status` only.", "")
    yield from _route_table((one.method, f"/api{one.path}", one.prose) for one in endpoints())
    yield from ("", "## Corrections", "", "At an origin. [Corrections](../guide/corrections.md) says what they do.", "")
    yield from _route_table((one.method, one.path, one.prose) for one in corrections_http.DESCRIBED)
    yield from ("", "## Keeping and letting go", "", "At an origin: [what it means](../guide/retention.md).", "")
    kept = (*holds_http.DESCRIBED, *retention_http.DESCRIBED, *purge_http.DESCRIBED)
    yield from _route_table((one.method, one.path, one.prose) for one in kept)
    yield from ("", "## The worklist", "", "At an origin and at an edge, for the scanners that associate with it.", "")
    yield from _route_table((one.method, one.path, one.prose) for one in worklist_http.DESCRIBED)
    yield from ("", "## HL7 messages", "", "At an origin. [HL7](../guide/hl7.md) says how they come.", "")
    yield from _route_table((one.method, one.path, one.prose) for one in hl7_http.DESCRIBED)
    yield from ("", "## Urgency at an edge", "", "[Urgency](../guide/urgency.md) says what it means.", "")
    yield from _route_table((one.method, one.path, prose_of(one.handler)) for one in edge_api.ROUTES)
    yield from ("", "## The outbox of an edge", "")
    yield from _route_table((one.method, one.path, one.prose) for one in outbox_http.DESCRIBED)
    yield from ("", "## Live segments at an edge", "")
    yield from _route_table(segments.DESCRIBED)
    yield from (
        "",
        "## Between nodes",
        "",
        "How an edge follows an origin, or another edge. Documents are JSON, compressed",
    )
    yield from ("with zstd for callers that take it; [manifest.md](manifest.md) says what is in them.", "")
    yield from _route_table((method, path, prose_of(handler)) for _, method, path, handler in ROUTES)


def _route_table(routes: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    yield from ("| | path | |", "|---|---|---|")
    for method, path, prose in routes:
        yield f"| {method} | `{path}` | {prose} |"


def command_line_page() -> Iterator[str]:
    """Yield the lines of ``command-line.md``."""
    yield from ("# Command line", "", _NOTE, "")
    yield "Exit codes: 0 done; 1 something is not as it should be; 2 change the command; 3 try again later. Commands"
    yield "that take settings read them as [settings](settings.md) says; only their other options are listed here."
    for parser in _parsers(build_parser()):
        if parser.get_default("run") is not None:
            yield from ("", f"## {parser.prog}", "", f"{_sentence(parser.description)}", "")
            yield from (f"- {line}" for line in _options(parser))


def intake_page() -> Iterator[str]:
    """Yield the lines of ``intake.md``."""
    yield from ("# What is taken in", "", _NOTE, "")
    yield "An object is refused only if it has no SOP Instance UID (failure reason A900), if a length it declares is"
    yield "not present or it is no DICOM at all (C000), or if it exceeds a limit (A700). Everything else is stored,"
    yield "with a note where something was odd, and comes back byte for byte."
    yield from ("", "## Limits", "", "Each is a [setting](settings.md).", "")
    yield from ("| limit | default | unit | why |", "|---|---|---|---|")
    for one in bounds():
        yield f"| `{one.name}` | {one.default:,} | {one.metadata['unit']} | {one.metadata['reason']} |"
    yield from ("", "## Notes", "", "| note | what was found |", "|---|---|")
    yield from (f"| `{code}` | {meaning} |" for code, meaning in notes.MEANING.items())


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    # Not argparse's own help text: its form differs between versions of Python.
    # An option that only has the name of a setting is listed: the demo's --home, the tenant that study asks about.
    settings = {(setting.option, setting.prose) for setting in SETTINGS}
    for action in parser._actions:
        prose = (action.help or "").partition(" Default: ")[0].replace("%%", "%")
        if isinstance(action, argparse._HelpAction) or settings & {(name, prose) for name in action.option_strings}:
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        if action.choices:
            metavar = "|".join(map(str, action.choices))
        words = ", ".join(action.option_strings)
        takes_value = action.nargs != 0
        shown = f"{words} {metavar}" if words and takes_value else words or metavar
        yield f"`{shown}`: {_sentence(action.help)}"


def _sentence(text: str | None) -> str:
    text = (text or "").replace("%%", "%").strip()
    return text[:1].upper() + text[1:].removesuffix(".") + "." if text else ""


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
    "http-api.md": http_api_page,
    "command-line.md": command_line_page,
    "intake.md": intake_page,
}


def render(name: str) -> str:
    """Return the text of a page."""
    return "\n".join(PAGES[name]()) + "\n"


def _error_classes() -> list[type[errors.NearframeError]]:
    return [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.NearframeError)]


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def main() -> None:
    folder = ROOT / "docs" / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (folder / name).write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
