"""What an object is: parsing, splitting, transfer syntaxes, codecs, rendering."""
