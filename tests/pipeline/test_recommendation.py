"""A recommender through all steps, on interactions whose order says what follows."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import cli, recipes
from tests.pipeline.conftest import Finished, finish, kfp_reuses_all

ITEMS = 40
TRAINING = {"learning_rate": 0.01, "batch_size": 64, "evaluate_every": 30, "precision": "fp32"}
RECIPE = {
    "name": "films",
    "task": "recommendation",
    "data": {"path": "interactions.parquet", "suite": "suite.json"},
    "preprocessing": {"user": "who", "item": "what", "timestamp": "when", "sequence_length": 6, "recent": 0.5},
    "model": {"hidden_size": 32, "num_hidden_layers": 1, "dropout": 0.0},
    "pretraining": {**TRAINING, "steps": 90},
    "fine_tuning": {**TRAINING, "steps": 30, "learning_rate": 0.003},
    "evaluation": {"samples": 3},
    "registration": {"model": "films"},
}


def interactions(users: int = 300) -> list[dict[str, Any]]:
    """Each user walks a circle of items from somewhere, three at a time forward with now and then a slip."""
    draw = random.Random(0)
    rows = []
    for user in range(users):
        at = draw.randrange(ITEMS)
        for time in range(draw.randint(4, 9)):
            rows.append({"who": f"u{user}", "what": f"film {at:02d}", "when": 1000 * user + time, "stars": 5})
            at = (at + (3 if draw.random() < 0.9 else 4)) % ITEMS
    draw.shuffle(rows)
    return rows


def write(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """Parquet and the recipe beside it."""
    pq.write_table(pa.Table.from_pylist(rows), folder / "interactions.parquet")
    return recipes.write(folder, RECIPE, **changes)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("films")
    return finish(write(folder, interactions(), preprocessing__unknown_items="refuse"))


def test_kfps_runner_reuses_what_the_local_one_made(films: Finished, tmp_path: Path) -> None:
    kfp_reuses_all(films, tmp_path)


def metrics_of(run: Finished, step: str) -> dict[str, float]:
    return next(one["metrics"] for one in run.summary["steps"] if one["name"] == step)


def test_it_learns_what_follows_better_than_its_baselines(films: Finished) -> None:
    found = metrics_of(films, "evaluation")
    # The next item comes first in nine of ten: a gain of about 0.9.
    assert found["ndcg"] > 0.75 and found["recall"] > 0.9
    page = films.page
    assert "the most popular" in page and "item-kNN by cosine" in page
    assert page.count("<h4>Ranked</h4>") == 3 and "<strong>film" in page


def test_predict_ranks_what_follows_a_history(films: Finished) -> None:
    watched = ["film 02", "film 05", "film 08"]
    done = films.predict(*({"history": one} for one in (json.dumps(watched), "film 30, film 33", "[]")))
    assert done.returncode == 0, done.stderr
    first, second, nothing = (json.loads(line) for line in done.stdout.splitlines())
    assert first["items"][0] == "film 11" and second["items"][0] == "film 36"
    assert len(first["items"]) == len(first["scores"]) == 10 and first["unknown"] == []
    assert first["scores"] == sorted(first["scores"], reverse=True)
    assert not set(watched) & set(first["items"])
    assert len(nothing["items"]) == 10


def test_what_predict_cannot_use_is_one_line(films: Finished) -> None:
    for history, said in (
        ('["film 02", "film 99"]', "item 'film 99' is not in the catalogue of 40 items"),
        ('["film 02"', "not JSON"),
        ("[1.5]", "1.5 is not an item id"),
    ):
        done = films.predict({"history": history})
        assert done.returncode == 2 and said in done.stderr
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_a_user_with_one_interaction_is_left_out_or_refused(tmp_path: Path) -> None:
    lonely = {"who": "new", "what": "film 01", "when": 5, "stars": 5}
    recipe = write(tmp_path, [*interactions(100), lonely])
    few = ("--set", "pretraining.steps=1", "--set", "fine_tuning.steps=1", "--set", "evaluation.baseline=false")
    left_out = cli.run_json(recipe, tmp_path / "store", *few)
    assert left_out["returncode"] == 0, left_out["stderr"]
    made = next(one for one in left_out["steps"] if one["name"] == "preprocessing")
    assert (made["metrics"]["users"], made["metrics"]["cold_users"]) == (100, 1)
    refused = cli.modelmill(
        "run", recipe, "--store", f"file://{tmp_path}/store", "--set", "preprocessing.cold_users=refuse"
    )
    assert refused.returncode == 2
    assert "preprocessing.cold_users: 1 users have fewer than 3 interactions" in refused.stderr
    assert "such as 'new' with 1" in refused.stderr and "Traceback" not in refused.stderr
