"""Runs the steps before a stage, then tries learning rates: `python -m modelmill.pipelines.runners.lr_find REQUEST`."""

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from modelmill.core.lifetime import exit_with_stdin


def main(request: Path) -> int:
    """Do what a request file describes (see `run.wait_for`); the outcome is in the run's records.

    Beside the rest, the request holds `stage`, and `sweep` with `low`, `high` and `steps`.

    Raises:
        SystemExit: A step has failed, and has recorded why.
    """
    exit_with_stdin()
    from modelmill.components.data_validation.component import data_validation
    from modelmill.components.preprocessing.component import preprocessing
    from modelmill.components.pretraining.component import pretraining

    asked = json.loads(request.read_text("utf-8"))
    run = {key: asked[key] for key in ("recipe", "store", "run_id")}
    with tempfile.TemporaryDirectory(prefix="modelmill-lr-find-") as folder:
        names = ("dataset", "validation", "corpus", "model")
        dataset, validation, corpus, model = (SimpleNamespace(path=f"{folder}/{name}") for name in names)
        data_validation.python_func(**run, dataset=dataset, validation=validation)
        preprocessing.python_func(**run, dataset=dataset, corpus=corpus)
        if asked["stage"] == "pretraining":
            from modelmill.components.pretraining.api import find_rates as pretraining_rates

            pretraining_rates(**run, corpus=corpus.path, **asked["sweep"])
        else:
            from modelmill.components.fine_tuning.api import find_rates as fine_tuning_rates

            pretraining.python_func(**run, corpus=corpus, model=model)
            fine_tuning_rates(**run, corpus=corpus.path, pretrained=model.path, **asked["sweep"])
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
