"""Writing studies of a DICOMweb server to folders, zip files and media, as they are or de-identified."""

from nearframe.exporter.content import Deidentification
from nearframe.exporter.forms import Form
from nearframe.exporter.report import Report
from nearframe.exporter.run import Options, run

__all__ = ["Deidentification", "Form", "Options", "Report", "run"]
