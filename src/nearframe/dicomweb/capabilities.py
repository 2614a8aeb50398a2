"""What this service can do, for people and programs: JSON, WADL (PS3.18 section 8.9 and Annex H), OpenAPI."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element, SubElement, tostring

from nearframe import __version__
from nearframe.dicomweb.address import ROOT
from nearframe.dicomweb.endpoint import Beside, Endpoint

E = TypeVar("E", bound=Endpoint[Any] | Beside)

WADL_XML: Final = "application/vnd.sun.wadl+xml"
WADL_JSON: Final = "application/vnd.sun.wadl+json"
OPENAPI_JSON: Final = "application/vnd.oai.openapi+json"

_WADL: Final = "http://wadl.dev.java.net/2009/02"
_PATH_PARAMETERS: Final = re.compile(r"{(\w+)(?::\w+)?}")
_PROSE: Final = {
    "study": "Study Instance UID",
    "series": "Series Instance UID",
    "instance": "SOP Instance UID",
    "frames": "Frame numbers, counted from 1, joined by commas",
    "conflict": "Number of the conflict",
    "correction": "Number of the correction",
    "hold": "Number of the legal hold",
    "round": "Name of the work, as the list of it says",
    "transaction": "Transaction UID of a request for storage commitment",
    "step": "Scheduled Procedure Step ID",
    "digest": "SHA-256 of the content in hex",
    "path": "Where in the instance the value is, as its BulkDataURI says",
}


def summary(table: Iterable[Endpoint[Any]], service_url: str) -> bytes:
    """Return a short JSON description: resources, methods, media types."""
    resources: dict[str, Any] = defaultdict(dict)
    for endpoint in table:
        resources[_template(endpoint.path)][endpoint.method] = {
            "name": endpoint.name,
            "description": endpoint.prose,
            "produces": list(endpoint.produces),
            **({"consumes": list(endpoint.consumes)} if endpoint.consumes else {}),
        }
    document = {
        "name": "nearframe",
        "version": __version__,
        "base": service_url,
        "standard": "DICOM PS3.18",
        "openapi": f"{service_url}/openapi.json",
        "resources": resources,
    }
    return _dump(document)


def wadl(table: Iterable[Endpoint[Any]], service_url: str) -> bytes:
    """Return the Web Application Description Language document of PS3.18 Annex H."""
    application = Element("application", xmlns=_WADL)
    resources = SubElement(application, "resources", base=service_url)
    for path, endpoints in _by_path(table).items():
        resource = SubElement(resources, "resource", path=path.removeprefix("/"))
        for name in _PATH_PARAMETERS.findall(endpoints[0].path):
            SubElement(resource, "param", name=name, style="template", required="true")
        for endpoint in endpoints:
            method = SubElement(resource, "method", name=endpoint.method, id=endpoint.name)
            request = SubElement(method, "request")
            for parameter in endpoint.parameters:
                SubElement(request, "param", name=parameter.name, style="query", type=f"xs:{parameter.kind}")
            for media_type in endpoint.consumes:
                SubElement(request, "representation", mediaType=media_type)
            response = SubElement(method, "response", status="200")
            for media_type in endpoint.produces:
                SubElement(response, "representation", mediaType=media_type)
    document: bytes = tostring(application, encoding="utf-8", xml_declaration=True)
    return document


def openapi(
    table: Iterable[Endpoint[Any]],
    service_url: str,
    title: str = "nearframe DICOMweb",
    description: str = "DICOM PS3.18 web services.",
    beside: Iterable[Beside] = (),
) -> bytes:
    """Return the OpenAPI 3.1 description.

    Parameters
    ----------
    beside
        What the node answers beside this service.
    """
    paths: dict[str, dict[str, Any]] = _paths(table)
    node = {"servers": [{"url": service_url.removesuffix(ROOT)}]}
    paths |= {path: node | methods for path, methods in _paths(beside).items()}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "description": f"{description} Errors are RFC 9457 problem documents.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": service_url}],
        "paths": paths,
        "components": {"schemas": {"Problem": _PROBLEM}},
    }
    return _dump(document)


_PROBLEM: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was found and what to do."},
        "code": {"type": "string", "description": "The kind of error, for programs."},
        "available": {"type": "array", "items": {"type": "string"}, "description": "With 406: what there is."},
    },
}


def _paths(table: Iterable[Endpoint[Any] | Beside]) -> dict[str, dict[str, Any]]:
    return {
        path: {endpoint.method.lower(): _operation(endpoint) for endpoint in endpoints}
        for path, endpoints in _by_path(table).items()
    }


def _operation(endpoint: Endpoint[Any] | Beside) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "description": _PROSE[name], "schema": {"type": "string"}}
        for name in _PATH_PARAMETERS.findall(endpoint.path)
    ]
    parameters += [
        {
            "name": one.name,
            "in": "query",
            "required": one.required,
            "description": one.prose,
            "schema": {"type": one.kind},
        }
        for one in endpoint.parameters
    ]
    success = (
        {"description": "Success", **_content(endpoint.produces)} if endpoint.produces else {"description": "Done"}
    )
    problem = {"$ref": "#/components/schemas/Problem"}
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.prose,
        "parameters": parameters,
        "responses": {
            "200" if endpoint.produces else "204": success,
            "default": {"description": "Refused", "content": {"application/problem+json": {"schema": problem}}},
        },
    }
    if endpoint.standard:
        operation["description"] = f"DICOM PS3.18 section {endpoint.standard}."
    if endpoint.consumes:
        operation["requestBody"] = {"required": True, **_content(endpoint.consumes)}
    return operation


def _content(media_types: Iterable[str]) -> dict[str, Any]:
    return {"content": {media_type: {} for media_type in media_types}}


def _by_path(table: Iterable[E]) -> dict[str, list[E]]:
    grouped: dict[str, list[E]] = defaultdict(list)
    for endpoint in table:
        grouped[_template(endpoint.path)].append(endpoint)
    return grouped


def _template(path: str) -> str:
    return _PATH_PARAMETERS.sub(r"{\1}", path)


def _dump(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
