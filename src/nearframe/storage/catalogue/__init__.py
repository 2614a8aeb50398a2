"""What is stored: versions, searches, the change feed and the outbox, in a database."""

from nearframe.storage.catalogue.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.catalogue.sqlite import CATALOGUE_FILE

__all__ = ["CATALOGUE_FILE", "SQLCatalogue", "open_catalogue"]
