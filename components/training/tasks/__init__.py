"""The kinds of model that the engine trains, by the recipe's `task`."""

from pathlib import Path
from typing import Any

from components.common.manifest import Manifest
from components.training.task import Task


def make_task(name: str, corpus: Manifest, files: dict[str, Path], model_settings: Any) -> Task:
    """The task of a recipe over a corpus whose files are at `files`, by entry path."""
    if name == "language_modeling":
        from components.training.tasks.language_modeling import LanguageModeling

        return LanguageModeling(corpus, files, model_settings)
    from components.training.tasks.tabular_classification import TabularClassification

    return TabularClassification(corpus, files, model_settings)
