"""The error of a file that cannot be used."""


class Unusable(Exception):
    """A file that is missing or cannot be decoded; the message says why."""
