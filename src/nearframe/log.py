"""Structured log lines on standard error: an event, and fields.

A line never holds a patient's name, an identifier, a UID or a token. Callers keep to
counts, sizes, times and states; and because messages of other libraries pass here too, what
looks like one of those is blanked before it is written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_FIELDS = "nearframe_fields"

#: What is blanked, whoever wrote it. A UID has at least five components here: an IPv4
#: address has four, a version number fewer.
_BLANKED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[0-2](?:\.\d+){4,}\b"), "<uid>"),
    (re.compile(r"\b(Bearer|Basic|Negotiate)\s+[\w\-.~+/]+=*", re.IGNORECASE), r"\1 <token>"),
    (re.compile(r"\beyJ[\w\-]+\.[\w\-]+\.[\w\-]*"), "<token>"),
    (re.compile(r"(\w+://)[^\s/@:]+:[^\s/@]+@"), r"\1<credentials>@"),
    # PN: components are joined by ^ (PS3.5 section 6.2.1).
    (re.compile(r"[^\s^=\"',;:(\[]*\^[^\s\"',;:)\]]*(?: [^\s\"',;:)\]=]*\^[^\s\"',;:)\]]*)*"), "<name>"),
    (
        re.compile(r"([?&](?:PatientID|PatientName|00100010|00100020|token|key)=)[^&\s\"']*", re.IGNORECASE),
        r"\1<blank>",
    ),
)


class Logger:
    """Writes events of one part of the system.

    Field values are numbers, short words, or an exception as ``error=``: its message is
    written, and for errors where it was raised.
    """

    __slots__ = ("_inner",)

    def __init__(self, name: str) -> None:
        self._inner = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._inner.isEnabledFor(level):
            self._inner.log(level, event, extra={_FIELDS: fields})


def logger(name: str) -> Logger:
    """Return the logger of a module; pass ``__name__``."""
    return Logger(name)


def blank(text: str) -> str:
    """Return `text` with everything blanked that looks like a name, a UID or a token."""
    for pattern, replacement in _BLANKED:
        text = pattern.sub(replacement, text)
    return text


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Send every log record of the process to standard error (or `stream`) in one style.

    Parameters
    ----------
    level
        ``debug``, ``info``, ``warning`` or ``error``.
    style
        ``text`` for key=value, ``json`` for one object a line.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JSONFormatter() if style == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These log a line per request, with its URL.
    for chatty in ("httpx", "httpcore", "hpack", "asyncio", "botocore", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        words = " ".join(f"{key}={_word(value)}" for key, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.name}: {_event(record)} {words}".rstrip()
        return line + "".join(f"\n  {part}" for part in _trace(record))


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            **_fields(record),
        }
        if trace := _trace(record):
            entry["trace"] = trace
        return json.dumps(entry, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(record: logging.LogRecord) -> str:
    return blank(record.getMessage()).replace("\n", " ")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given: dict[str, object] = getattr(record, _FIELDS, {})
    return {key: _safe(value) for key, value in given.items()}


def _safe(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        return blank(f"{type(value).__name__}: {value}")
    return blank(str(value))


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"=]", text) or not text else text


def _trace(record: logging.LogRecord) -> list[str]:
    error: Any = getattr(record, _FIELDS, {}).get("error")
    if error is None and record.exc_info:
        error = record.exc_info[1]
    if not isinstance(error, BaseException) or error.__traceback__ is None or record.levelno < logging.ERROR:
        return []
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
