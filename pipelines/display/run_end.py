"""How a run ended, as JSON or for people."""

from modelmill.pipelines.display import steps
from modelmill.pipelines.display.text import complain, print_json
from modelmill.pipelines.run import summary
from modelmill.store import Store


def tell(store: Store, run_id: str, uri: str, as_json: bool) -> int:
    """Say how a run ended and return its exit code.

    Args:
        store: The store of the run.
        run_id: The run.
        uri: The store as the user wrote it, for the commands that are suggested.
        as_json: Print one JSON object.
    """
    ended = summary(store, run_id)
    if as_json:
        print_json(ended)
    else:
        steps.show_run(ended)
    if ended["exit_code"] != 0:
        complain(f"{ended['failed_step'] or 'run'}: {ended['reason']}")
        complain(f"log: modelmill report {run_id} --store {uri} --log; again: {ended['resume']}")
    return int(ended["exit_code"])
