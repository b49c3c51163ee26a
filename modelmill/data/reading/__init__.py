"""From the bytes of a file to tables, in pieces, or to the file and line that are wrong."""
