"""Edits of encoded header blobs, as deltas carry them: `dicom.headeredit` between bytes and JSON."""

from __future__ import annotations

from nearframe.dicom.headeredit import HeaderEdit, apply, diff
from nearframe.errors import NearframeError
from nearframe.wire.canonical import JSON
from nearframe.wire.header import HeaderBlob

# Beyond this part of a header an edit says most of it: compressed against its neighbours the header is shorter.
_LARGEST_SHARE = 0.5


class Part10Edits:
    """Replacements of top-level elements; see `query.deltas.HeaderEdits`."""

    def diff(self, old: bytes, new: bytes) -> JSON | None:
        try:
            edit = diff(HeaderBlob.decode(old), HeaderBlob.decode(new))
        except NearframeError:  # an object so odd that its header is no data set travels whole
            return None
        return None if edit is None or _weight(edit) > _LARGEST_SHARE * len(new) else edit.to_json()

    def apply(self, old: bytes, edit: JSON) -> bytes:
        return apply(HeaderBlob.decode(old), HeaderEdit.from_json(edit)).encode()


def _weight(edit: HeaderEdit) -> int:
    """Return the bytes of the new encodings in an edit."""
    return sum(len(raw or b"") for _, raw in (*edit.meta, *edit.dataset)) + len(edit.preamble or b"")
