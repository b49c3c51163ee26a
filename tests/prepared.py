"""Preprocessing of a folder of data without the steps before it."""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modelmill.data import columns, shards
from modelmill.data.media_files import Kind
from modelmill.data.shard import Shard
from modelmill.recipe import task_packages
from modelmill.recipe.sections import Preparation
from modelmill.recipe.step_specs import DATASET, FITTED
from modelmill.runtime import external_inputs
from modelmill.runtime.step_runtime import Made
from modelmill.store import manifest, open_store


class Prepared:
    """The preprocessing of one task in one store, as its step does it."""

    def __init__(self, folder: Path, task: str, settings: Preparation) -> None:
        self.folder = folder
        self.task = task
        self.settings = settings
        self.store = open_store(f"file://{folder}/store")

    def step(self) -> Any:
        """A step with nothing in its scratch folder."""
        recipe = task_packages.recipe_type(self.task).model_construct(
            task=self.task, name="tiny", preprocessing=self.settings
        )
        scratch = self.folder / f"scratch-{uuid.uuid4().hex}"
        scratch.mkdir(parents=True)
        return SimpleNamespace(
            recipe=recipe,
            store=self.store,
            scratch=scratch,
            inputs={DATASET: SimpleNamespace(info={columns.SCHEMA: "any"})},
            digests={FITTED: external_inputs.NOTHING},
            document={"code": {}},
            progress=lambda *_: None,
        )

    def make(self, data: Path, media: Kind | None = None) -> tuple[Made, dict[str, Path]]:
        """The corpus of a folder, and its files by name."""
        step = self.step()
        made = task_packages.preprocessing(self.task).preprocess(step, found(data, media))
        corpus = made.outputs["corpus"]
        return made, manifest.fetch(self.store, corpus.entries, self.folder / "corpus")


def found(data: Path, media: Kind | None = None) -> list[tuple[Shard, str]]:
    """The shards of a folder, each with its sha256."""
    return [(shard, shards.read(shard)[1]) for shard in shards.find(str(data), "auto", media)]
