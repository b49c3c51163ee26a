"""The symbols that a recurrent language model reads and writes."""

# Bytes are 0 to 255; one more symbol ends a document, and stands before its first byte.
BOUNDARY = 256
SYMBOLS = 257
