"""Runs the DAG on this machine through KFP's SubprocessRunner.

Start it by `python -m modelmill.pipelines.runners.subprocess REQUEST`.
"""

import json
import sys
from pathlib import Path

from modelmill import recipe as recipes
from modelmill.core.files import scratch_folder
from modelmill.core.lifetime import exit_with_stdin
from modelmill.recipe import stored
from modelmill.store import open_store


def main(request: Path) -> int:
    """Run the pipeline of a request file (see `run.wait_for`); its outcome is in the run's records."""
    exit_with_stdin()
    from kfp import local

    from modelmill.pipelines.dag import build

    asked = json.loads(request.read_text("utf-8"))
    recipe = recipes.from_json(stored.read(open_store(asked["store"]), asked["recipe"]))
    with scratch_folder("kfp") as root:
        # KFP deletes its workspace after a run, so it gets one of its own.
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=f"{root}/outputs",
            workspace_root=f"{root}/workspace",
            raise_on_error=False,
        )
        pipeline = build(recipe, asked["store"], asked["run_id"], if_changed=asked["if_changed"])
        pipeline(recipe=asked["recipe"])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
