"""What cannot be used, as a mistake of the user's that a line explains."""

import contextlib
from collections.abc import Iterator

from modelmill.core.errors import UserError
from modelmill.data.media.unusable import Unusable


@contextlib.contextmanager
def refused(where: str) -> Iterator[None]:
    """Enter a block in which what cannot be used ends the command with one line.

    Args:
        where: Key and source, for the message.

    Raises:
        UserError: Something cannot be used.
    """
    try:
        yield
    except Unusable as error:
        raise UserError(f"{where}: {error}") from error
