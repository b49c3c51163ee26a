"""What every peer trains on: corpora as the pipeline's first steps make them, and the weights to start from."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from modelmill import recipe as recipes
from modelmill.recipe import Training, task_packages
from modelmill.store import manifest, open_store
from modelmill.store.manifest import Manifest
from tests import recipes as written
from tests import speech
from tests.component.steps import Steps
from tests.pretrained import speech as speech_checkpoints

SEED = 0
RECIPE = Path(__file__).parents[2] / "recipes" / "text-classification-minilm.yaml"
# Sides in pixels of the pictures' files: a photograph that a site shows in a list.
PICTURE = (360, 270)
PICTURES, RECORDINGS = 256, 96
CLASSES = ("across", "down")
# ViT-Ti/16 and Whisper tiny on a processor; ViT-B/16 and Whisper base on a GPU.
VIT = {"cpu": (192, 12, 3), "cuda": (768, 12, 12)}
WHISPER = {"cpu": (384, 4, 6), "cuda": (512, 6, 8)}
STEP = {"learning_rate": 5e-5, "steps": 1}


class Case(NamedTuple):
    """A model and its data.

    Attributes:
        name: Name of the case.
        recipe: File of the recipe.
        overrides: Settings in place of the recipe's.
        batch: Examples of a batch.
    """

    name: str
    recipe: Path
    overrides: tuple[str, ...]
    batch: int


def minilm(folder: Path) -> Case:
    """Return the fine-tuning of all-MiniLM-L6-v2 by the shipped recipe, with all labels.

    Args:
        folder: Folder to write into.
    """
    from modelmill.pipelines import demo_model

    made = demo_model.write("minilm", folder)
    model = f"preprocessing.tokenizer.from={made.model}", f"pretraining.init={made.model}"
    return Case("minilm", RECIPE, (f"data.path={made.data}", *model, "preprocessing.labelled=1.0"), 32)


def vit(folder: Path) -> Case:
    """Return the fine-tuning of a ViT with random weights on JPEG files of made-up pictures.

    Args:
        folder: Folder to write into.
    """
    from transformers import ViTConfig, ViTForImageClassification

    place = folder / "vit"
    if not (place / "bench.yaml").exists():
        hidden, layers, heads = VIT[_device()]
        config = ViTConfig(
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            label2id={name: number for number, name in enumerate(CLASSES)},
            id2label=dict(enumerate(CLASSES)),
        )
        torch.manual_seed(SEED)
        ViTForImageClassification(config).save_pretrained(place / "checkpoint")
        processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}
        more = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
        (place / "checkpoint" / "preprocessor_config.json").write_text(json.dumps(processor | more))
        _write_pictures(place / "data")
        written.write(place, _recipe("image_classification", "images", {"label": "kind"}))
    return Case("vit", place / "bench.yaml", (), 16 if _device() == "cpu" else 64)


def whisper(folder: Path) -> Case:
    """Return the fine-tuning of a Whisper with random weights on made-up recordings of a second and more.

    Args:
        folder: Folder to write into.
    """
    place = folder / "whisper"
    if not (place / "bench.yaml").exists():
        hidden, layers, heads = WHISPER[_device()]
        halves = {
            f"{half}_{name}": value
            for half in ("encoder", "decoder")
            for name, value in {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * hidden}.items()
        }
        speech_checkpoints.write(
            "whisper", place / "checkpoint", d_model=hidden, num_mel_bins=80, max_source_positions=1500, **halves
        )
        extractor = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "chunk_length": 30}
        extractor |= {"sampling_rate": 16000, "hop_length": 160, "n_fft": 400}
        (place / "checkpoint" / "preprocessor_config.json").write_text(json.dumps(extractor))
        draws = np.random.default_rng(SEED)
        texts = ["".join(draws.choice(list("abcd"), int(draws.integers(10, 18)))) for _ in range(RECORDINGS)]
        speech.write(place / "data", {"words": texts})
        settings = {"language": "en", "resample": True, "split_by": "speaker", "max_seconds": 30}
        written.write(place, _recipe("speech_recognition", "audio", settings))
    return Case("whisper", place / "bench.yaml", (), 4 if _device() == "cpu" else 32)


CASES: dict[str, Callable[[Path], Case]] = {"minilm": minilm, "vit": vit, "whisper": whisper}


class Opened(NamedTuple):
    """A case that is ready to train.

    Attributes:
        task: The task over the corpus.
        checkpoint: Folder of the weights to start from.
    """

    task: Any
    checkpoint: Path


def prepare(case: Case, folder: Path) -> Path:
    """Make a case's corpus, unless it was made; return the file of its manifest.

    Args:
        case: The case.
        folder: Folder of the store.
    """
    file = folder / f"{case.name}.corpus.json"
    if not file.exists():
        steps = Steps(case.recipe, folder / case.name / "steps", *case.overrides)
        dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
        corpus = steps.call("preprocessing", ["corpus"], dataset=dataset)["corpus"]
        file.write_bytes(corpus.to_json())
    return file


def opened(case: Case, folder: Path) -> Opened:
    """Return a case's task and weights.

    Args:
        case: The case.
        folder: Folder of the store, where `prepare` has made the corpus.
    """
    recipe = recipes.load(case.recipe, list(case.overrides))
    corpus = Manifest.parse(prepare(case, folder).read_bytes())
    store = open_store(f"file://{folder}/{case.name}/steps/store")
    files = manifest.fetch(store, corpus.entries, folder / case.name / "corpus")
    task = task_packages.training(recipe.task).make_task(corpus, files, recipe.model)
    task.stage = "fine_tuning"
    assert recipe.pretraining is not None
    return Opened(task, Path(recipe.pretraining.init))


def settings(case: Case, steps: int, precision: str) -> Training:
    """Return the hyperparameters of a run.

    Args:
        case: The case.
        steps: Steps to train.
        precision: `fp32` or `bf16`.
    """
    return Training(
        steps=steps,
        batch_size=case.batch,
        learning_rate=STEP["learning_rate"],
        weight_decay=0.01,
        group_by_length=case.name == "minilm",
        evaluate_every=steps,
        validation_batches=1,
        checkpoint_seconds=1e9,
        precision=precision,
    )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _recipe(task: str, media: str, preprocessing: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "bench",
        "task": task,
        "data": {"path": "data", "media": media, "suite": "suite.json"},
        "preprocessing": {"validation": 0.1, "test": 0.1, **preprocessing},
        "model": {"type": "auto"},
        "pretraining": {"init": "checkpoint", "steps": 0, "learning_rate": 1.0},
        "fine_tuning": {**STEP, "batch_size": 1},
        "evaluation": {"comparison": "none", "baseline": False},
        "registration": {"model": "bench"},
    }


def _write_pictures(folder: Path) -> None:
    """Write pictures that compress about as photographs do: smooth, with a little noise and a bar."""
    draws = np.random.default_rng(SEED)
    (folder / "images").mkdir(parents=True)
    lines = ["file,kind"]
    width, height = PICTURE
    for number in range(PICTURES):
        coarse = draws.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize(PICTURE, Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = pixels + draws.normal(0, 8, pixels.shape).astype(np.int16)
        kind = CLASSES[number % 2]
        at = int(draws.integers(20, min(PICTURE) - 40))
        pixels[
            (slice(at, at + 20), slice(0, width)) if kind == "across" else (slice(0, height), slice(at, at + 20))
        ] = 255
        sink = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=88)
        (folder / "images" / f"{number}.jpg").write_bytes(sink.getvalue())
        lines.append(f"images/{number}.jpg,{kind}")
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
