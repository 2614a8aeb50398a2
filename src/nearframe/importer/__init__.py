"""Sending folders, media and archives to a DICOMweb server: find, batch, send, remember."""

from nearframe.importer.report import Problem, Progress, Reconciliation, Report
from nearframe.importer.run import Options, Source, run
from nearframe.importer.webarchive import WebSource

__all__ = ["Options", "Problem", "Progress", "Reconciliation", "Report", "Source", "WebSource", "run"]
