"""What is stored: versions, searches, the change feed and the outbox, in a database."""

from nearframe.storage.catalogue.catalogue import SQLCatalogue, open_catalogue

__all__ = ["SQLCatalogue", "open_catalogue"]
