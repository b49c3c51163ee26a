"""Runs the DAG in containers on this machine, through KFP's DockerRunner.

Start it by `python -m modelmill.pipelines.runners.docker REQUEST`.

A step's container has a read-only root, no capabilities, a user who is not root, the network of this machine, and a
volume of its own at /tmp that goes with it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from modelmill import recipe as recipes
from modelmill.champion.champion_state import who
from modelmill.core.files import scratch_folder
from modelmill.core.lifetime import exit_with_stdin
from modelmill.pipelines.runners import removal
from modelmill.recipe import stored
from modelmill.store import open_store

# Of the images; who runs as root gives the steps this user, who is not.
IMAGE_USER = 10001
RUN_LABEL = "modelmill.run"
_PREFIXES = ("AWS_", "MLFLOW_")
_OF_NOTIFICATIONS = ("MODELMILL_NOTIFY_", "MODELMILL_SMTP_")
_NAMES = frozenset({"MODELMILL_REGISTRY_SECONDS", "MODELMILL_WHO", "HF_ENDPOINT", "HF_TOKEN"})
# Files of this machine, which no container sees.
_FILES = frozenset({"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"})


def main(request: Path) -> int:
    """Run the pipeline of a request file (see `run.wait_for`); its outcome is in the run's records."""
    asked = json.loads(request.read_text("utf-8"))
    run_id = asked["run_id"]
    exit_with_stdin()
    from kfp import local

    from modelmill.pipelines.dag import build

    with (
        scratch_folder("kfp") as root,
        removal.afterwards(f"{RUN_LABEL}={run_id}"),
    ):
        local.init(
            runner=local.DockerRunner(**container_options(run_id)),
            pipeline_root=_writable(f"{root}/outputs"),
            # KFP deletes its workspace after a run, so it gets one of its own.
            workspace_root=_writable(f"{root}/workspace"),
            raise_on_error=False,
        )
        recipe = recipes.from_json(stored.read(open_store(asked["store"]), asked["recipe"]))
        build(recipe, asked["store"], run_id, place, asked["if_changed"])(recipe=asked["recipe"])
    return 0


def container_options(run_id: str) -> dict[str, Any]:
    """Return the options of every step's container, as docker's `containers.run` takes them."""
    from docker.types import Mount

    user, group = _user()
    return {
        "user": f"{user}:{group}",
        "read_only": True,
        "mounts": [Mount("/tmp", None)],  # on disk: what steps put down for a while may be larger than the memory
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "host",
        "shm_size": "1g",
        "environment": environment(),
        "labels": {RUN_LABEL: run_id},
    }


def environment() -> dict[str, str]:
    """Return the variables that steps get of this process's environment: for store, registry and hub, and who asks."""
    wanted = {k for k in os.environ if k.startswith(_PREFIXES) or k in _NAMES} - _FILES
    return {"MODELMILL_WHO": who(), **{name: os.environ[name] for name in wanted}}


def place(task: Any, step: str) -> None:
    """Tell the report, and no other step, whom to notify: the addresses of webhooks are secrets.

    Args:
        task: KFP's task.
        step: The step's name.
    """
    if step == "reporting":
        for name in sorted(os.environ):
            if name.startswith(_OF_NOTIFICATIONS):
                task.set_env_variable(name, os.environ[name])


def _writable(folder: str) -> str:
    """Make a folder that the containers' user can write to."""
    Path(folder).mkdir(parents=True)
    if os.getuid() == 0:
        os.chown(folder, IMAGE_USER, IMAGE_USER)
    return folder


def _user() -> tuple[int, int]:
    """Return the user of the containers: whoever runs the command, so that the outputs are theirs, but never root."""
    return (os.getuid(), os.getgid()) if os.getuid() else (IMAGE_USER, IMAGE_USER)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
