"""Find, hash and stream files of data."""
