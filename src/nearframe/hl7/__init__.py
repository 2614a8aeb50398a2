"""HL7 version 2 over MLLP: what hospital and radiology systems tell an archive of patients and orders."""
