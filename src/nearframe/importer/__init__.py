"""Sending folders, archives and media to a DICOMweb server: find, batch, send, remember."""

from nearframe.importer.report import Problem, Progress, Report
from nearframe.importer.run import Options, run

__all__ = ["Options", "Problem", "Progress", "Report", "run"]
