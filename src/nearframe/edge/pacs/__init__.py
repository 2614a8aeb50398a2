"""An edge in front of an archive that speaks DICOMweb and nothing else of ours."""
