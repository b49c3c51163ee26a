"""A training in a process of its own, for tests that kill it: a small MLP with dropout, an average and bad batches."""

from pathlib import Path

import numpy as np

from modelmill.recipe import Training
from modelmill.store import open_store
from modelmill.store.manifest import Manifest
from modelmill.tasks.tabular_classification.recipe import MLPModel
from modelmill.tasks.tabular_classification.task import TabularClassification
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import train

STEPS = 1200


def write_rows(folder: Path) -> None:
    """Rows of two classes; one of them has a feature that is not a number."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 200)
    features = generator.normal(labels[:, None], 1.0, (200, 3)).astype(np.float32)
    np.save(folder / "validation.features.npy", features[:50])
    features[77, 1] = np.nan
    np.save(folder / "train.features.npy", features)
    np.save(folder / "train.labels.npy", labels)
    np.save(folder / "validation.labels.npy", labels[:50])
    np.save(folder / "train.ids.npy", np.arange(200, dtype=np.uint64))
    np.save(folder / "validation.ids.npy", np.arange(50, dtype=np.uint64))


def run(folder: Path, store: str, weights: Path) -> None:
    """Train on the rows in a folder, with a checkpoint after every step, and save the weights."""
    from safetensors.torch import save_file

    scratch = weights.with_suffix(".scratch")
    scratch.mkdir(exist_ok=True)
    corpus = Manifest(kind="corpus", info={"features": ["a", "b", "c"], "classes": ["no", "yes"]})
    kinds = ("features", "labels", "ids")
    files = {f"{s}/{k}.npy": folder / f"{s}.{k}.npy" for s in ("train", "validation") for k in kinds}
    seed_everything(0)
    task = TabularClassification(corpus, files, MLPModel(hidden=[16, 16], activation="relu", dropout=0.2))
    model = task.build()
    settings = Training(
        steps=STEPS,
        learning_rate=1e-3,
        batch_size=8,
        optimizer="muon",
        ema=0.99,
        evaluate_every=50,
        checkpoint_seconds=0,
        bad_batches={"limit": STEPS},  # type: ignore[arg-type]
    )
    examples = (task.examples("fine_tuning", split) for split in ("train", "validation"))
    checkpoints = Checkpoints(open_store(store), "key", scratch)
    result = train(model, task, *examples, settings, 0, checkpoints, lambda *_: None)
    assert result.skipped > 30, "the bad row was met"
    save_file(model.state_dict(), weights.with_suffix(".part"))
    weights.with_suffix(".part").rename(weights)
