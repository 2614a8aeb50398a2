"""Loading: the settings of a node from its file, its environment and its command line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from nearframe.config.declaring import ENV_PREFIX, Setting
from nearframe.config.settings import SETTINGS, Settings
from nearframe.errors import ConfigurationError

DEFAULT_FILE: Final = Path("nearframe.toml")

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    arguments: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings of this node.

    Parameters
    ----------
    file
        The file to read. None means the one NEARFRAME_CONFIG names, else ``nearframe.toml``
        in the current folder if there is one.
    environment
        Usually `os.environ`.
    arguments
        Values of the command line by setting name; None values count as not given.

    Raises
    ------
    ConfigurationError
        Naming the setting, where it was set, and what is expected.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for name, raw, place in _given(file, environment, arguments or {}):
        values[name] = _read(_BY_NAME[name], raw, str(place))
        sources[name] = place.source
    settings = Settings(**values, sources=sources)  # type: ignore[arg-type]  # each value was read by its own kind
    _check_together(settings)
    return settings


class _Place(NamedTuple):
    """Where a value was given; lines are those of a file."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


def _given(
    file: Path | None, environment: Mapping[str, str], arguments: Mapping[str, object]
) -> Iterator[tuple[str, object, _Place]]:
    """Yield ``(name, raw value, place)``, weakest source first."""
    path = _settings_file(file, environment)
    if path is not None:
        yield from _from_file(path)
    yield from _from_environment(environment)
    for name, raw in arguments.items():
        if raw is not None:
            yield name, raw, _Place(_BY_NAME[name].option)


def _settings_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if named := environment.get(ENV_PREFIX + "CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(path: Path) -> Iterator[tuple[str, object, _Place]]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; correct --config or NEARFRAME_CONFIG") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    for name, raw in table.items():
        place = _Place(str(path), _line_of(name, text))
        if name not in _BY_NAME:
            raise ConfigurationError(f"{place}: no setting is called {name}{_did_you_mean(name)}")
        yield name, raw, place


def _line_of(name: str, text: str) -> int:
    # tomllib keeps no positions; a key of a flat table starts its line.
    found = re.search(rf"^\s*[\"']?\[{{0,2}}{re.escape(name)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, object, _Place]]:
    for variable in sorted(environment):
        # NEARFRAME_TEST_* steer the project's own tests.
        if not variable.startswith(ENV_PREFIX) or variable.startswith((ENV_PREFIX + "CONFIG", ENV_PREFIX + "TEST_")):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in _BY_NAME:
            raise ConfigurationError(f"{variable}: no setting is called {name}{_did_you_mean(name)}")
        yield name, environment[variable], _Place(variable)


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, _BY_NAME, n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/reference/settings.md lists them"


def _read(setting: Setting, raw: object, place: str) -> object:
    try:
        return setting.kind.read(raw)
    except (ValueError, TypeError) as error:
        one = raw[0] if isinstance(raw, list) and len(raw) == 1 else raw  # an option that may be repeated, and was not
        shown = "" if setting.secret else f" {one!r}"
        raise ConfigurationError(f"{place}: {setting.name} cannot be{shown}: {error}") from error


def _check_together(settings: Settings) -> None:
    for cert, key in (("tls_cert", "tls_key"), ("dicom_tls_cert", "dicom_tls_key"), ("hl7_tls_cert", "hl7_tls_key")):
        given = [name for name in (cert, key) if getattr(settings, name) is not None]
        if len(given) == 1:
            missing = key if given == [cert] else cert
            raise ConfigurationError(
                f"{given[0]} is set and {missing} is not; TLS needs both (nearframe tls dev makes them)"
            )
    for service in ("dicom", "hl7"):
        listens, authority, own = (getattr(settings, f"{service}{part}") for part in ("", "_tls_ca", "_tls_cert"))
        if listens and authority and not own:
            raise ConfigurationError(
                f"{service}_tls_ca is set and {service}_tls_cert is not: without a certificate of its own the node "
                "speaks no TLS, and sees none of its callers'"
            )
    if settings.chunk_bytes == 0 or settings.segment_bytes < settings.chunk_bytes:
        raise ConfigurationError("segment_bytes must be at least chunk_bytes, and chunk_bytes above 0")
