"""What an archive shows of a study, and a fingerprint of each instance to tell when that changes.

An archive without a change feed is asked again and again for the metadata of a study
(PS3.18 section 10.4.1.1.5). Its bulk data URIs are left out of the fingerprint: they name
the host that was asked. What metadata does not hold, the values behind those URIs, may not
change under one SOP Instance UID (PS3.3 C.12.1.1), and is not looked at.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from nearframe.errors import MalformedRequest, UpstreamError
from nearframe.ids import Digest, normalise_uid, sha256
from nearframe.wire.document import check_values

_SOP_INSTANCE_UID: Final = "00080018"
_SERIES_INSTANCE_UID: Final = "0020000E"
_STUDY_INSTANCE_UID: Final = "0020000D"
_URI: Final = "BulkDataURI"
_MAX_UID_CHARS: Final = 64

#: An absolute link to something of a study, as far as where the study is named. No colon but that of a port: so the
#: search for one ends where the next ``http://`` begins, and a text of nothing else takes no time by its square.
_LINK: Final = re.compile(
    rb'https?://(?:\[[0-9a-fA-F:.]{2,45}\]|[^\s"<>\\:/]+)(?::[0-9]{1,5})?(?:/[^\s"<>\\:]*?)?(?=/studies/)'
)


@dataclass(frozen=True, slots=True)
class Shown:
    """An instance as the archive shows it; `sop_class` is empty if it does not say."""

    series: str
    instance: str
    fingerprint: Digest
    sop_class: str = ""


def shown_in(document: bytes, study: str) -> list[Shown]:
    """Return the instances in a metadata document, in its order.

    Raises
    ------
    UpstreamError
        If it is no DICOM JSON of instances of this study.
    """
    try:
        check_values(document)
        instances = json.loads(document, object_hook=_without_uri)
        if not isinstance(instances, list):
            raise TypeError("no array")
        return [_shown(instance, study) for instance in instances]
    except (MalformedRequest, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise UpstreamError("the archive's metadata cannot be read as DICOM JSON") from error


def with_links_to(service: str, document: bytes) -> bytes:
    """Return a document of the archive with its links leading here.

    Parameters
    ----------
    service
        URL of our DICOMweb root as the reader knows it.
    """
    return _LINK.sub(service.encode().replace(b"\\", b"\\\\"), document)


def _without_uri(value: dict[str, Any]) -> dict[str, Any]:
    if _URI in value:
        value[_URI] = ""
    return value


def _shown(instance: dict[str, Any], study: str) -> Shown:
    if _uid(instance, _STUDY_INSTANCE_UID) != study:
        raise ValueError("an instance of another study")
    canonical = json.dumps(instance, sort_keys=True, separators=(",", ":")).encode()
    return Shown(_uid(instance, _SERIES_INSTANCE_UID), _uid(instance, _SOP_INSTANCE_UID), sha256(canonical))


def _uid(instance: dict[str, Any], tag: str) -> str:
    uid = normalise_uid(str(instance[tag]["Value"][0]))
    if not 0 < len(uid) <= _MAX_UID_CHARS:
        raise ValueError("no UID")
    return uid
