"""Steps called one after the other through their KFP faces, in this process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.components.data_validation.component import data_validation
from modelmill.components.evaluation.component import evaluation
from modelmill.components.fine_tuning.component import fine_tuning
from modelmill.components.preprocessing.component import preprocessing
from modelmill.components.pretraining.component import pretraining
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Manifest

FACES = {
    "data_validation": data_validation,
    "preprocessing": preprocessing,
    "pretraining": pretraining,
    "fine_tuning": fine_tuning,
    "evaluation": evaluation,
}


class Steps:
    """A recipe's steps over one store, in which it is. Each call is a run of its own, whose records `record` has."""

    def __init__(self, recipe: Path, folder: Path, *overrides: str) -> None:
        self.recipe = recipes.to_json(recipes.load(recipe, list(overrides)))
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = open_store(f"file://{folder}/store")
        self.calls = 0
        self.value: Any = None

    @property
    def store(self) -> Store:
        """The store; when it is set, the recipe is written to it."""
        return self._store

    @store.setter
    def store(self, store: Store) -> None:
        self._store = store
        self.key = stored.write_json(store, self.recipe)

    def call(self, step: str, outputs: list[str], **inputs: Manifest) -> dict[str, Manifest]:
        """Call a step; `value` is then what it returned."""
        self.calls += 1
        paths = {}
        for name, given in inputs.items():
            paths[name] = self.folder / f"{self.calls}.{name}.in"
            paths[name].write_bytes(given.to_json())
        paths |= {name: self.folder / f"{self.calls}.{name}.out" for name in outputs}
        artifacts = {name: SimpleNamespace(path=str(path)) for name, path in paths.items()}
        self.value = FACES[step].python_func(self.key, self.store.uri, str(self.calls), **artifacts)
        return {name: Manifest.parse(paths[name].read_bytes()) for name in outputs}

    def record(self, step: str) -> run_records.StepRecord:
        """The record of the step in the last call."""
        record = run_records.read_step(self.store, str(self.calls), step)
        assert record is not None
        return record

    def corpus(self) -> Manifest:
        dataset = self.call("data_validation", ["dataset", "validation"])["dataset"]
        return self.call("preprocessing", ["corpus"], dataset=dataset)["corpus"]

    def pretrained(self, corpus: Manifest) -> Manifest:
        return self.call("pretraining", ["model"], corpus=corpus)["model"]

    def tuned(self, corpus: Manifest, pretrained: Manifest) -> Manifest:
        return self.call("fine_tuning", ["model"], corpus=corpus, pretrained=pretrained)["model"]

    def evaluated(self, corpus: Manifest, pretrained: Manifest, model: Manifest) -> Manifest:
        made = self.call("evaluation", ["evaluation"], corpus=corpus, pretrained=pretrained, model=model)
        return made["evaluation"]

    def fails(self, step: str, outputs: list[str], **inputs: Manifest) -> tuple[int, str]:
        """The exit code and the message of a call that ends the step."""
        with pytest.raises(SystemExit) as ended:
            self.call(step, outputs, **inputs)
        problem = self.record(step).problem
        assert problem is not None and problem.exit_code == ended.value.code
        return problem.exit_code, problem.message

    def folder_of(self, made: Manifest, name: str) -> Path:
        """The files of a manifest as a folder of that name."""
        target = self.folder / f"{made.digest[:12]}"
        for entry in made.entries:
            file = target / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(manifest.read_entry(self.store, entry))
        return target / name
