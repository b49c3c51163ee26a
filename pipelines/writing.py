"""Files that commands write."""

from collections.abc import Iterator
from contextlib import contextmanager

from modelmill.core.errors import UserError


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turn a failure to write a file inside the block into one line for the user.

    Args:
        where: The option and the file, such as `--output page.html`.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{where}: cannot be written ({error.strerror})") from error
