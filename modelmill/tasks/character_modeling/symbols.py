"""The symbols of a recurrent language model."""

# Bytes are 0 to 255; BOUNDARY ends a document and precedes its first byte.
BOUNDARY = 256
SYMBOLS = 257
