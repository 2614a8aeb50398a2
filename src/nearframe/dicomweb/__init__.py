"""DICOMweb over the services: parse, call, answer."""
