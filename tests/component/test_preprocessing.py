"""The preprocessing component: splits that never move, fitting on the training split only, arrays that come back."""

import io
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from modelmill import recipe as recipes
from modelmill.components.preprocessing.component import fitting, shard_encoding
from modelmill.corpus.split import split_of
from modelmill.runtime import run_records
from modelmill.store import blobs, manifest
from modelmill.store.manifest import Manifest
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, table_recipe, write_corpus, write_table


def array(steps: Steps, corpus: Manifest, name: str) -> np.ndarray:
    return np.load(io.BytesIO(manifest.read_entry(steps.store, corpus.entry(name))), allow_pickle=False)


def documents(steps: Steps, corpus: Manifest, split: str) -> set[str]:
    """The texts of a split, decoded from its token arrays."""
    tokenizer = Tokenizer.from_str(manifest.read_entry(steps.store, corpus.entry("tokenizer/tokenizer.json")).decode())
    texts = set()
    for stem in [e.path.removesuffix("tokens.npy") for e in corpus.entries if e.path.endswith("documents.tokens.npy")]:
        if stem.startswith(split + "/"):
            tokens, offsets = (array(steps, corpus, f"{stem}{kind}.npy").tolist() for kind in ("tokens", "offsets"))
            for begin, end in itertools.pairwise(offsets):
                texts.add(tokenizer.decode(tokens[begin + 1 : end], skip_special_tokens=False))
    return texts


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    folder = tmp_path_factory.mktemp("preprocessing")
    return Steps(language_recipe(folder, write_corpus(folder / "data")), folder / "steps")


@pytest.fixture(scope="module")
def corpus(steps: Steps) -> Manifest:
    return steps.corpus()


def test_every_document_comes_back_from_the_arrays_in_its_split(steps: Steps, corpus: Manifest) -> None:
    settings = recipes.from_json(steps.recipe).preprocessing
    for split in ("train", "validation", "test"):
        expected = {source_file(n) for n in range(120) if split_of(f"pkg/file_{n}.py", settings) == split}
        assert documents(steps, corpus, split) == expected
        assert corpus.info["splits"][split]["bytes"] == sum(len(text) for text in expected)


def test_more_data_moves_nothing_between_the_splits(steps: Steps, corpus: Manifest, tmp_path: Path) -> None:
    larger = Steps(language_recipe(tmp_path, write_corpus(tmp_path / "data", files=150, shards=5)), tmp_path / "steps")
    grown = larger.corpus()
    for split in ("train", "validation", "test"):
        assert documents(larger, grown, split) > documents(steps, corpus, split)


def test_the_same_data_gives_the_same_corpus_and_tokenizer(steps: Steps, corpus: Manifest, tmp_path: Path) -> None:
    again = Steps(language_recipe(tmp_path, write_corpus(tmp_path / "data")), tmp_path / "steps")
    assert again.corpus().digest == corpus.digest


def test_the_tokenizer_sees_the_training_split_only(steps: Steps, corpus: Manifest, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    settings = recipes.from_json(steps.recipe).preprocessing
    for shard in sorted(data.glob("*.jsonl")):
        rows = [json.loads(line) for line in shard.read_text().splitlines()]
        for row in rows:
            if split_of(row["path"], settings) != "train":
                row["text"] += "# zyzzyva zyzzyva zyzzyva\n" * 20
        shard.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = Steps(language_recipe(tmp_path, data), tmp_path / "steps")
    changed = other.corpus()
    assert changed.entry("tokenizer/tokenizer.json") == corpus.entry("tokenizer/tokenizer.json")
    assert changed.digest != corpus.digest


def test_a_second_call_is_reused(steps: Steps, corpus: Manifest) -> None:
    assert steps.corpus().digest == corpus.digest
    assert steps.record("preprocessing").status == "reused"


def test_data_that_changes_after_its_validation_is_refused(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", files=30)
    steps = Steps(language_recipe(tmp_path, data), tmp_path / "steps")
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    shard = data / "part-01.jsonl"
    shard.write_text(shard.read_text().replace("value", "velue"))
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert (code, "part-01.jsonl" in message) == (2, True)
    shard.unlink()
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2
    assert "part-01.jsonl was validated but is no longer there; run again" in message


def test_the_scaler_is_fitted_on_the_training_split(tmp_path: Path) -> None:
    steps = Steps(table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "steps")
    corpus = steps.corpus()
    scaler = json.loads(manifest.read_entry(steps.store, corpus.entry("scaler.json")))
    train = array(steps, corpus, "train/00000.features.npy")
    assert train.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert train.std(axis=0) == pytest.approx([1, 1], abs=1e-5)
    rows = [line.split(",") for line in (tmp_path / "data" / "table.csv").read_text().splitlines()[1:]]
    held_out = array(steps, corpus, "test/00000.features.npy") * scaler["scale"] + scaler["mean"]
    given = {(float(row[1]), float(row[2])) for row in rows}
    assert {(round(a, 3), round(b, 3)) for a, b in held_out.tolist()} <= given
    assert sum(sum(split.values()) for split in corpus.info["splits"].values()) == len(rows)


def test_a_number_is_the_same_one_in_shards_of_other_types(tmp_path: Path) -> None:
    """Neither becomes 1 another class than 1.0, nor is a user in two splits."""
    (tmp_path / "data").mkdir()
    numbers = range(200)
    for name, kind in (("a", pa.int64()), ("b", pa.float64())):
        columns = {"width": numbers, "height": [n * n % 7 for n in numbers], "kind": [n % 2 for n in numbers]}
        typed = {key: pa.array(values).cast(kind) for key, values in columns.items()}
        pq.write_table(pa.table(typed | {"user": pa.array(numbers).cast(kind)}), tmp_path / "data" / f"{name}.parquet")
    recipe = table_recipe(tmp_path, tmp_path / "data", preprocessing__split_by="user")
    steps = Steps(recipe, tmp_path / "steps")
    corpus = steps.corpus()
    assert len(corpus.info["classes"]) == 2
    for split in ("train", "validation", "test"):
        both = [array(steps, corpus, f"{split}/0000{shard}.features.npy") for shard in range(2)]
        assert np.array_equal(*both)


def test_a_code_keeps_its_zeros_in_a_split_and_as_a_class(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, code in (("a", "007"), ("b", "7")):
        rows = "".join(f"{n},{n % 5},{code}\n" for n in range(60))
        (tmp_path / "data" / f"{name}.csv").write_text("width,height,kind\n" + rows)
    corpus = Steps(table_recipe(tmp_path, tmp_path / "data"), tmp_path / "steps").corpus()
    assert corpus.info["classes"] == ["007", "7"]


@pytest.mark.parametrize("fit", ["once", "always"])
def test_a_new_shard_of_a_table_is_the_only_one_that_is_read(fit: str, tmp_path: Path) -> None:
    data = write_table(tmp_path / "data")
    steps = Steps(table_recipe(tmp_path, data), tmp_path / "steps", f"preprocessing.fit={fit}")
    first = steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 1
    (data / "table2.csv").write_text("id,width,height,kind\n" + "".join(f"{n},{n}.5,{n},big\n" for n in range(50)))
    second = steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 1
    assert (second.entry("scaler.json") == first.entry("scaler.json")) == (fit == "once")
    assert (set(first.entries) < set(second.entries)) == (fit == "once")


def test_a_scaler_of_many_shards_is_that_of_one(tmp_path: Path) -> None:
    rows = (write_table(tmp_path / "one") / "table.csv").read_text().splitlines()
    (tmp_path / "many").mkdir()
    for number, start in enumerate(range(1, len(rows), 37)):
        lines = [rows[0], *rows[start : start + 37]]
        (tmp_path / "many" / f"{number}.csv").write_text("\n".join(lines) + "\n")
    scalers = []
    for name in ("one", "many"):
        steps = Steps(table_recipe(tmp_path / f"r-{name}", tmp_path / name), tmp_path / f"s-{name}")
        scalers.append(json.loads(manifest.read_entry(steps.store, steps.corpus().entry("scaler.json"))))
    assert scalers[0]["mean"] == pytest.approx(scalers[1]["mean"], rel=1e-12)
    assert scalers[0]["scale"] == pytest.approx(scalers[1]["scale"], rel=1e-12)


@pytest.mark.parametrize("fit", ["once", "always"])
@pytest.mark.parametrize("task", ["text", "table"])
def test_tasks_ahead_of_the_step_leave_it_nothing_to_encode(task: str, fit: str, tmp_path: Path) -> None:
    made = []
    for name in ("alone", "ahead"):
        folder = tmp_path / name
        recipe = (
            language_recipe(folder, write_corpus(tmp_path / "data"))
            if task == "text"
            else table_recipe(folder, tables_of(tmp_path / "data", 3))
        )
        steps = Steps(recipe, folder / "steps", f"preprocessing.fit={fit}")
        dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
        if name == "ahead":
            file = tmp_path / "dataset.json"
            file.write_bytes(dataset.to_json())
            given = {"recipe": steps.key, "store": steps.store.uri, "dataset": SimpleNamespace(path=str(file))}
            assert fitting.python_func(**given)
            counts = [shard_encoding.python_func(**given, fitted=True, group=n, groups=2) for n in range(2)]
            assert counts == [2, 1]
            assert run_records.read_step(steps.store, str(steps.calls), "preprocessing") is None
        made.append(steps.call("preprocessing", ["corpus"], dataset=dataset)["corpus"])
        assert steps.record("preprocessing").metrics["new_shards"] == (0 if name == "ahead" else 3)
    assert made[0].entries == made[1].entries and made[0].info == made[1].info
    assert [shard_encoding.python_func(**given, fitted=True, group=n, groups=2) for n in range(2)] == [0, 0]


def test_what_is_wrong_is_said_by_the_step_and_not_by_the_tasks_ahead_of_it(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    steps = Steps(language_recipe(tmp_path, data), tmp_path / "steps", "preprocessing.text=body")
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    (tmp_path / "dataset.json").write_bytes(dataset.to_json())
    given = {"recipe": steps.key, "store": steps.store.uri}
    artifact = SimpleNamespace(path=str(tmp_path / "dataset.json"))
    assert fitting.python_func(**given, dataset=artifact)
    assert shard_encoding.python_func(**given, fitted=True, group=0, groups=2, dataset=artifact) == 0
    assert steps.fails("preprocessing", ["corpus"], dataset=dataset)[0] == 2


def tables_of(folder: Path, count: int) -> Path:
    """A table in several shards."""
    for number in range(count):
        write_table(folder)
        (folder / "table.csv").rename(folder / f"{number}.csv")
        text = (folder / f"{number}.csv").read_text()
        (folder / f"{number}.csv").write_text(text + f"{9000 + number},{number},1,big\n")
    return folder


def test_fitted_once_new_data_costs_its_own_shards_only(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    steps = Steps(language_recipe(tmp_path, data), tmp_path / "steps", "preprocessing.fit=once")
    first = steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 3
    assert steps.corpus().digest == first.digest
    assert steps.record("preprocessing").status == "reused"
    (data / "part-99.jsonl").write_text(json.dumps({"path": "pkg/new.py", "text": source_file(999)}) + "\n")
    second = steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 1
    assert second.entry("tokenizer/tokenizer.json") == first.entry("tokenizer/tokenizer.json")
    assert set(first.entries) < set(second.entries)
    (data / "part-99.jsonl").unlink()
    assert steps.corpus().digest == first.digest
    assert steps.record("preprocessing").status == "reused", "back to the data that it was fitted on"


def test_fitted_always_new_data_gets_a_new_tokenizer(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data")
    steps = Steps(language_recipe(tmp_path, data), tmp_path / "steps")
    first = steps.corpus()
    (data / "part-99.jsonl").write_text(json.dumps({"path": "pkg/new.py", "text": "zyzzyva " * 500}) + "\n")
    second = steps.corpus()
    assert steps.record("preprocessing").metrics["new_shards"] == 4
    assert second.entry("tokenizer/tokenizer.json") != first.entry("tokenizer/tokenizer.json")


def test_a_lost_array_of_a_kept_shard_is_made_again(tmp_path: Path) -> None:
    steps = Steps(language_recipe(tmp_path, write_corpus(tmp_path / "data")), tmp_path / "steps")
    first = steps.corpus()
    lost = steps.store.local_path(blobs.key_of(first.under("train")[0].sha256))
    assert lost is not None
    lost.unlink()
    assert steps.corpus().digest == first.digest
    assert steps.record("preprocessing").metrics["new_shards"] == 1
    assert lost.is_file()


def test_a_scaler_fitted_once_stays(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data")
    steps = Steps(table_recipe(tmp_path, data), tmp_path / "steps", "preprocessing.fit=once")
    first = steps.corpus()
    table = data / "table.csv"
    table.write_text(table.read_text() + "".join(f"{n},{n}.5,{n},big\n" for n in range(1000, 1050)))
    second = steps.corpus()
    assert second.entry("scaler.json") == first.entry("scaler.json")
    assert second.digest != first.digest
