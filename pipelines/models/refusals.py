"""What a model's script refuses, as an error of the user's."""

import contextlib
from collections.abc import Iterator

from modelmill.core.errors import UserError


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Say on one line what the model's script refuses, by an MlflowException of INVALID_PARAMETER_VALUE.

    Args:
        what: What is refused, in words.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(f"{what}: {error.message}") from error
