"""`modelmill report --compare`: two runs on one page."""

from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.store import Store


def write(store: Store, first: str, second: str, output: Path) -> None:
    """Write the page that has both runs beside each other.

    Raises:
        UserError: the file cannot be written.
    """
    from modelmill.components.reporting.api import Run, render_comparison

    page = render_comparison(*(Run.find(store, run_id) for run_id in (first, second)))
    try:
        output.write_text(page, "utf-8")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
