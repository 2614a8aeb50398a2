"""Asking a server that may be away or busy, with growing, jittered pauses."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx

from nearframe.errors import UpstreamError, UpstreamUnavailable
from nearframe.importer.replies import detail_of

_TRY_AGAIN = (429, 502, 503, 504)
_FIRST_DELAY_S = 0.25
_MAX_DELAY_S = 20.0
_MAX_RETRY_AFTER_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotNow:
    """Why a try led to nothing, and the seconds the server asked to wait."""

    problem: str
    least_s: float = 0.0


class Patience:
    """How long to go on asking. Any thread may call.

    Parameters
    ----------
    limit_s
        The longest that one question is repeated.
    wait
        Sleeps for some seconds; returns True if there is to be no further try.
    on_retry
        Called with the problem before each further try.
    """

    def __init__(self, limit_s: float, wait: Callable[[float], bool], on_retry: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._wait = wait
        self._on_retry = on_retry

    def ask(self, question: Callable[[], T | NotNow]) -> T:
        """Return the first answer that is one.

        Raises
        ------
        UpstreamUnavailable
            If there was none in time.
        """
        waited_s = 0.0
        delay_s = _FIRST_DELAY_S
        while isinstance(answer := question(), NotNow):
            pause_s = max(delay_s * random.uniform(0.5, 1.0), answer.least_s)
            if waited_s + pause_s > self._limit_s:
                raise UpstreamUnavailable(
                    f"{answer.problem}; what is done stays done, run the same command again later"
                )
            self._on_retry(answer.problem)
            if self._wait(pause_s):
                raise UpstreamUnavailable(f"{answer.problem}; it ended before another try")
            waited_s += pause_s
            delay_s = min(2 * delay_s, _MAX_DELAY_S)
        return answer


def unreachable(error: httpx.TransportError) -> NotNow:
    """Say that a request met no server, or lost it.

    Raises
    ------
    UpstreamError
        If TLS cannot be agreed on: asking again would not help.
    """
    if isinstance(refusal := _first_cause(error), ssl.SSLCertVerificationError):
        raise UpstreamError(
            f"the server's certificate is not trusted ({refusal.verify_message}); --ca-cert names one to trust"
        ) from error
    if isinstance(refusal, ssl.SSLError) and refusal.reason == "WRONG_VERSION_NUMBER":
        raise UpstreamError("the server does not speak TLS; is its URL one of http://?") from error
    with suppress(RuntimeError):  # an error of no request
        asked = error.request.url
        return NotNow(
            f"{asked.scheme}://{asked.netloc.decode()} cannot be reached ({str(error) or type(error).__name__})"
        )
    return NotNow(f"the server cannot be reached ({str(error) or type(error).__name__})")


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def busy(reply: httpx.Response) -> NotNow | None:
    """Return why to ask again later, if the answer says so."""
    if reply.status_code not in _TRY_AGAIN:
        return None
    # With its reason, if it gives one: an edge whose upstream is away says so.
    return NotNow(
        f"the server is busy or away (HTTP {reply.status_code}){detail_of(reply)}", retry_after_s(reply.headers)
    )


def retry_after_s(headers: httpx.Headers) -> float:
    """Return the seconds that a server asks to wait (RFC 9110 section 10.2.3), within reason; a date is none."""
    value = headers.get("retry-after", "")
    return min(float(value), _MAX_RETRY_AFTER_S) if value.isascii() and value.isdigit() else 0.0
