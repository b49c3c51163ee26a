"""What each task says that training will compute, against what PyTorch counts of its network on one example.

The tolerance is 5 %: small products that the estimates leave out, such as those of augmentation and of alignment.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from modelmill import recipe as recipes
from modelmill.models import torch_attention
from modelmill.recipe import Recipe, task_packages
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch, RunFacts, Stage
from modelmill.training.loop import probe

RECIPES = Path(__file__).parents[2] / "recipes"
TOLERANCE = 0.05
SPECIAL = {"padding": 0, "first": 1, "last": 2, "mask": 3, "end": 1, "source": 4, "target": 5}


class Case(NamedTuple):
    """A recipe with changes, the `info` of its corpus, rows of the corpus's files, and a batch of one example."""

    recipe: str
    overrides: list[str]
    info: dict[str, Any]
    rows: dict[str, int]
    batch: Callable[[Recipe, Stage], Batch]


def tokens(*shape: int, most: int = 200) -> torch.Tensor:
    return torch.randint(10, most, shape)


def _windows(recipe: Any, stage: Stage) -> Batch:
    ids = tokens(1, recipe.preprocessing.sequence_length)
    return {"input_ids": ids, "labels": ids}


def _columns(recipe: Any, stage: Stage) -> Batch:
    return {"features": torch.randn(1, len(recipe.preprocessing.features)), "labels": torch.tensor([3])}


def _bytes(recipe: Any, stage: Stage) -> Batch:
    settings = recipe.preprocessing
    return {"symbols": tokens(1, settings.warm_up + settings.length), "labels": tokens(1, settings.length)}


def _texts(recipe: Any, stage: Stage) -> Batch:
    ids = tokens(1, recipe.preprocessing.sequence_length)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return batch | ({"labels": torch.tensor([1])} if stage == "fine_tuning" else {"keys": torch.tensor([7])})


def _pairs(recipe: Any, stage: Stage) -> Batch:
    ids = tokens(1, recipe.preprocessing.sequence_length)
    batch = {"input_ids": ids, "labels": ids, "language": torch.tensor([5])}
    return batch | ({"keys": torch.tensor([7])} if stage == "pretraining" else {})


def _histories(recipe: Any, stage: Stage) -> Batch:
    items = tokens(1, recipe.preprocessing.sequence_length)
    return {"items": items, "labels": items}


def _images(recipe: Any, stage: Stage) -> Batch:
    settings = recipe.preprocessing
    images = torch.randint(0, 256, (1, settings.channels, settings.size, settings.size), dtype=torch.uint8)
    return {"images": images, "labels": torch.tensor([1])}


def _pictures(recipe: Any, stage: Stage) -> Batch:
    settings = recipe.preprocessing
    side = settings.single_size if stage == "pretraining" else settings.size
    batch = {"images": torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8), "labels": torch.tensor([[1]])}
    return batch | ({"boxes": torch.tensor([[[4.0, 4.0, 20.0, 20.0]]])} if stage == "fine_tuning" else {})


def _noise(recipe: Any, stage: Stage) -> Batch:
    return _images(recipe, stage) | {"noise": torch.randn(1, recipe.model.latent)}


def _noisy(recipe: Any, stage: Stage) -> Batch:
    samples = 0.1 * torch.randn(1, 2 * recipe.preprocessing.sample_rate)
    return {"samples": samples, "keys": torch.tensor([1])} | ({"targets": samples} if stage == "fine_tuning" else {})


SECONDS, TRANSCRIPT = 3, 40


def _spoken(recipe: Any, stage: Stage) -> Batch:
    count, rate = SECONDS * recipe.preprocessing.sample_rate, recipe.preprocessing.sample_rate
    labels = torch.randint(0, 20, (1, TRANSCRIPT))
    symbols = nn.functional.pad(labels + 1, (1, 1))
    return {
        "samples": 0.1 * torch.randn(1, count),
        "lengths": torch.tensor([count]),
        "labels": labels,
        "label_lengths": torch.tensor([TRANSCRIPT]),
        "symbols": symbols,
        "frames": torch.tensor([count // round(rate * 0.0125) + 1]),
    }


ALPHABET = "abcdefghijklmnopqrstuvw "
CLASSES = [str(number) for number in range(10)]


def _recordings(rate: int) -> dict[str, int]:
    rows = {"ids": 2, "samples": 2 * SECONDS * rate, "labels": 2 * TRANSCRIPT}
    return {f"train/only/00000.00000.{name}.npy": count for name, count in rows.items()}


TABLE = {"features": [f"p{n}" for n in range(64)], "classes": CLASSES, "splits": {"train": {"0": 30, "1": 12}}}
WINDOWS = {"vocab_size": 4096, "sequence_length": 256, "end_of_text": 0, "splits": {"train": {"tokens": 512}}}
TEXTS = {"classes": ["a", "b"], "sequence_length": 32, "vocab_size": 700, "special": SPECIAL}
PAIRS = {"vocab_size": 600, "sequence_length": 32, "special": SPECIAL}
IMAGES = {"classes": CLASSES[5:], "other_classes": CLASSES[:5], "channels": 1, "size": 28}
SPOKEN = {"alphabet": ALPHABET, "sample_rate": 8000, "lowercase": True, "corpora": {}}
CASES = {
    "language_modeling": Case("python-lm", [], WINDOWS, {}, _windows),
    "tabular_classification": Case("tabular-mlp", [], TABLE, {}, _columns),
    "character_modeling": Case("char-rnn", [], {"warm_up": 32}, {}, _bytes),
    "text_classification": Case("text-classification", [], TEXTS, {}, _texts),
    "translation": Case("translation", [], PAIRS, {}, _pairs),
    "recommendation": Case(
        "recommendation", [], {"items": 300, "sequence_length": 20, "catalogue": ""}, {}, _histories
    ),
    "image_classification": Case("image-classification", [], IMAGES, {}, _images),
    "image_detection": Case("image-detection", [], {"classes": CLASSES, "size": 64, "small": "refuse"}, {}, _pictures),
    "image_generation": Case("image-generation", [], {"classes": CLASSES, "channels": 1, "size": 28}, {}, _noise),
    "speech_enhancement": Case("speech-enhancement", [], {"sample_rate": 8000}, {}, _noisy),
    "speech_recognition": Case("speech-recognition", [], SPOKEN, _recordings(8000), _spoken),
    "speech_synthesis": Case("speech-synthesis", [], SPOKEN | {"sample_rate": 11025}, _recordings(11025), _spoken),
}
# Other shapes, whose layers are others.
CASES |= {
    "character_modeling gru": CASES["character_modeling"]._replace(overrides=["model.type=gru", "model.num_layers=2"]),
    "speech_recognition deep": CASES["speech_recognition"]._replace(overrides=["model.num_layers=2"]),
    "image_classification vgg": CASES["image_classification"]._replace(overrides=["model.architecture=vgg"]),
    "image_classification inception": CASES["image_classification"]._replace(
        overrides=["model.architecture=inception", "preprocessing.other_classes=[]"],
        info=IMAGES | {"other_classes": []},
    ),
    "image_generation colours": CASES["image_generation"]._replace(
        overrides=["preprocessing.channels=3", "preprocessing.size=36"],
        info={"classes": CLASSES, "channels": 3, "size": 36},
    ),
}


def counted(recipe: Recipe, case: Case, stage: Stage) -> tuple[int, float, float]:
    """Parameters, FLOPs and terms of one example, as the engine's probe counts them."""
    torch.manual_seed(0)
    task = task_packages.training(recipe.task).make_task(Manifest(kind="corpus", info=case.info), {}, recipe.model)
    task.stage = stage
    model, batch = task.build().train(), case.batch(recipe, stage)
    with torch_attention.as_one():
        flops = probe.measure(lambda: task.loss(model, batch), []).flops
    return sum(one.numel() for one in model.parameters()), flops, task.terms(batch)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stage", ["pretraining", "fine_tuning"])
def test_the_estimate_is_what_is_counted(name: str, stage: Stage) -> None:
    case = CASES[name]
    recipe = recipes.load(RECIPES / f"{case.recipe}.yaml", case.overrides)
    if getattr(recipe, stage) is None or (stage == "fine_tuning" and recipe.task == "language_modeling"):
        pytest.skip("the recipe does not train it, or with adapters, which test_flops counts")
    cost = task_packages.costing(recipe.task).cost(recipe, stage, RunFacts(case.info, case.rows))
    assert cost is not None
    parameters, flops, terms = counted(recipe, case, stage)
    assert cost.parameters == parameters
    assert cost.flops == pytest.approx(flops, rel=TOLERANCE)
    if cost.terms is not None and recipe.task != "text_classification":
        assert cost.terms == pytest.approx(terms, rel=0.01)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_estimated_before_a_first_run(recipe: Path) -> None:
    loaded = recipes.load(recipe)
    package = task_packages.costing(loaded.task)
    for stage in ("pretraining", "fine_tuning"):
        if getattr(loaded, stage) is not None:
            cost = package.cost(loaded, stage, RunFacts())
            if isinstance(loaded.model, PretrainedModel):
                assert cost is None  # the checkpoint says it
                continue
            assert cost is not None and cost.parameters > 0 and cost.flops > 0
            # What is assumed is said; the demo suites list their classes, so those are known.
            assert "classes" not in cost.assumed


def test_the_unit_is_that_of_the_task() -> None:
    for name in CASES:
        task = name.split()[0]
        part = task_packages.training(task)
        # A task with two networks, its own and a checkpoint's, has a function that chooses.
        kinds = [part.make_task] if isinstance(part.make_task, type) else vars(part).values()
        own = [
            kind for kind in kinds if isinstance(kind, type) and kind.__module__.startswith(f"modelmill.tasks.{task}.")
        ]
        units = {kind.unit for kind in own if hasattr(kind, "unit")}
        assert units == {task_packages.costing(task).UNIT}


def test_nothing_of_torch_is_imported_for_an_estimate() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from modelmill.recipe import task_packages\n"
        "for task in task_packages.packages(): task_packages.costing(task)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_count_of_grouped_convolutions_has_their_groups() -> None:
    layer = nn.Conv1d(8, 8, 3, groups=8, padding=1)
    values = torch.randn(1, 8, 10, requires_grad=True)
    assert probe.measure(lambda: layer(values.clone()).sum(), []).flops == 3 * 2 * 8 * 3 * 10
    assert np.isfinite(probe.measure(lambda: nn.ConvTranspose1d(8, 4, 4, 2, 1)(values.clone()).sum(), []).flops)
