"""Reading a YAML file that a person wrote."""

from pathlib import Path
from typing import Any

import yaml

from modelmill.core.errors import UserError


def read(path: Path, where: str, missing: str) -> Any:
    """Return the document in a file.

    Args:
        path: The file.
        where: How messages name the file.
        missing: Message for a file that does not exist.

    Raises:
        UserError: The file cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{where}: {missing}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{where}: cannot be read: {error}") from error
