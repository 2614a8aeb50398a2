"""What a route is: the row of the route table."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.responses import Response

from nearframe.dicomweb.call import Call

#: What the handlers of a table are given: the services behind them.
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter."""

    name: str
    kind: str
    prose: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[S]):
    """One method on one path.

    Attributes
    ----------
    name
        In metrics, and the operation in the OpenAPI document; unique.
    path
        Below the root of its table (``/dicomweb``, ``/api``), with ``{study}``, ``{series}``,
        ``{instance}``, ``{frames}``, ``{path}``.
    produces, consumes
        Media types of the answer and of the request's body.
    standard
        The section of PS3.18 it implements; empty for our own.
    """

    name: str
    method: str
    path: str
    handler: Callable[[S, Call], Awaitable[Response]]
    prose: str
    produces: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    standard: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """One method on one path beside DICOMweb, as the OpenAPI document has it; members as of an `Endpoint`.

    Attributes
    ----------
    path
        From the root of the node.
    """

    name: str
    method: str
    path: str
    prose: str
    produces: tuple[str, ...] = ("application/json",)
    consumes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    standard: str = ""


def prose_of(handler: object) -> str:
    """Return what a handler does, as the first line of its docstring says it."""
    return (inspect.getdoc(handler) or "").split("\n", maxsplit=1)[0]
