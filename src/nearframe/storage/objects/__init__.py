"""Sealed packs as objects of a bucket, and their index in a database: for any number of origins (ADR 0023)."""

from nearframe.storage.objects.intake import ObjectSettings
from nearframe.storage.objects.preparing import INDEX_FILE, belongs, open_index
from nearframe.storage.objects.store import ObjectStore

__all__ = ["INDEX_FILE", "ObjectSettings", "ObjectStore", "belongs", "open_index"]
