"""What bad input gets: one clear line that names the file and the key, exit code 2, and nothing half-written."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from modelmill.corpus.text import tokenizer
from modelmill.store import open_store
from tests import cli
from tests.chat_models import write_chat_model
from tests.recipes import change, language_recipe, table_recipe, write_corpus, write_table
from tests.seaweedfs import SeaweedFS


@pytest.fixture
def language(tmp_path: Path) -> Path:
    return language_recipe(tmp_path, write_corpus(tmp_path / "data", files=30))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_recipe(tmp_path, write_table(tmp_path / "data", rows=60))


def model_folder(folder: Path, *files: str) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    return folder


def weights(folder: Path, data: bytes) -> Path:
    (model_folder(folder, "config.json") / "model.safetensors").write_bytes(data)
    return folder


def known_weights(folder: Path, **config: object) -> Path:
    """A model folder with a tokenizer of 258 tokens."""
    tokenizer.train(iter(["a plain text"]), 258, folder)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 258} | config))
    (folder / "model.safetensors").write_bytes(save({"block.0.query.weight": np.zeros((3, 3))}))
    return folder


# Found in the recipe or in what it points at, before a run begins: a change to the language recipe, and what is said.
AT_ONCE: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown key": (
        lambda r: change(r, pretraining__learning_rat=0.1),
        "{recipe}: pretraining.learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    "unknown section": (
        lambda r: change(r, pretrainig={}),
        "{recipe}: pretrainig: unknown key; did you mean 'pretraining'?",
    ),
    "out of range": (
        lambda r: change(r, preprocessing__test=0.7),
        "{recipe}: preprocessing.test: input should be less than 0.5, got 0.7",
    ),
    "not a number": (
        lambda r: change(r, pretraining__steps="many"),
        "{recipe}: pretraining.steps: input should be a valid integer, got 'many'",
    ),
    "unknown task": (lambda r: change(r, task="language_modelling"), "did you mean 'language_modeling'?"),
    "key given twice": (
        lambda r: r.write_text(r.read_text() + "seed: 2\n"),
        "not valid YAML: seed is there twice",
    ),
    "not YAML": (lambda r: r.write_text("name: [\n"), "{recipe}:2: not valid YAML"),
    "no such suite": (
        lambda r: change(r, data__suite="gone.json"),
        "{recipe}: data.suite: {folder}/gone.json: No such file",
    ),
    "no such data": (lambda r: change(r, data__path="gone"), "data.path: {folder}/gone: no such file or folder"),
    "data matches nothing": (lambda r: change(r, data__path="data/*.csv"), "data.path: {folder}/data/*.csv"),
    "model folder without weights": (
        lambda r: change(r, pretraining__init=str(model_folder(r.parent / "m", "config.json"))),
        "pretraining.init: {folder}/m: no weights in it; model.safetensors is missing",
    ),
    "pickle for weights": (
        lambda r: change(r, pretraining__init=str(model_folder(r.parent / "m", "config.json", "pytorch_model.bin"))),
        "pretraining.init: {folder}/m: pytorch_model.bin is a pickle",
    ),
    "pickle under the name of weights": (
        lambda r: change(r, pretraining__init=str(weights(r.parent / "m", pickle.dumps({"weight": [0.0]})))),
        "pretraining.init: {folder}/m: model.safetensors is cut off or not safetensors",
    ),
    "cut off weights": (
        lambda r: change(r, pretraining__init=str(weights(r.parent / "m", save({"w": np.zeros(9)})[:-1]))),
        "pretraining.init: {folder}/m: model.safetensors is cut off or not safetensors",
    ),
    "weights for shorter sequences": (
        lambda r: change(r, pretraining__init=str(known_weights(r.parent / "m", max_position_embeddings=32))),
        "pretraining.init: {folder}/m: it was made for 32 positions; set preprocessing.sequence_length to 32 or less",
    ),
    "weights with another tokenizer": (
        lambda r: change(
            r,
            pretraining__init=str(write_chat_model(r.parent / "m", None)),
            fine_tuning__method="full",
            preprocessing__tokenizer={"from": str(known_weights(r.parent / "other"))},
        ),
        "pretraining.init: {folder}/m: its tokenizer is another: '",
    ),
    "weights with fewer rows than their tokenizer": (
        lambda r: change(
            r,
            pretraining__init=str(known_weights(r.parent / "m", vocab_size=99)),
            fine_tuning__method="full",
            preprocessing__tokenizer={"from": str(r.parent / "m")},
        ),
        "pretraining.init: {folder}/m: config.json says 99 tokens, tokenizer.json has 258",
    ),
    "a chat without a template": (
        lambda r: change(
            r,
            preprocessing__pairs__framing="chat",
            preprocessing__tokenizer={"from": str(write_chat_model(r.parent / "m", None))},
        ),
        "preprocessing.pairs.framing: chat: {folder}/m/tokenizer_config.json has no chat_template, and there is no "
        "chat_template.jinja beside it; name a chat model's folder in preprocessing.tokenizer.from, or set",
    ),
    "a chat without a tokenizer": (
        lambda r: change(r, preprocessing__pairs__framing="chat"),
        "{recipe}: preprocessing: pairs.framing: chat needs a tokenizer with a chat template: name a chat model's",
    ),
    "a learning rate of 0": (
        lambda r: change(r, pretraining__learning_rate=0),
        "{recipe}: pretraining.learning_rate: input should be greater than 0, got 0",
    ),
    "target modules that match nothing": (
        lambda r: change(r, fine_tuning__lora__target_modules=["q_proj", "c_attn"]),
        "{recipe}: fine_tuning.lora.target_modules: the model has no module 'c_attn'; it has q_proj, k_proj",
    ),
    "target modules that given weights do not have": (
        lambda r: change(
            r,
            pretraining__init=str(known_weights(r.parent / "m")),
            fine_tuning__lora__target_modules=["query", "c_attn"],
        ),
        "fine_tuning.lora.target_modules: the model in {folder}/m has no module 'c_attn'; it has query",
    ),
    "no target modules": (
        lambda r: change(r, fine_tuning__lora__target_modules=[]),
        "{recipe}: fine_tuning.lora.target_modules: should be all-linear or a list of at least 1 name of a module",
    ),
    "target modules that are another word": (
        lambda r: change(r, fine_tuning__lora__target_modules="all_linear"),
        "{recipe}: fine_tuning.lora.target_modules: should be all-linear or a list of at least 1 name of a module",
    ),
    "pickle file for weights": (
        lambda r: change(r, pretraining__init=str(model_folder(r.parent / "m", "model.pt") / "model.pt")),
        "model.pt is a pickle",
    ),
}


@pytest.mark.parametrize("mistake", AT_ONCE)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_mistake_in_the_recipe_is_one_line_before_anything_is_written(
    command: str, mistake: str, language: Path, tmp_path: Path
) -> None:
    make, message = AT_ONCE[mistake]
    make(language)
    done = cli.modelmill(command, language, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message.format(recipe=language, folder=tmp_path) in done.stderr
    assert not list(open_store(f"file://{tmp_path}/store").list(""))
    # What is wrong in the recipe itself is found before the store is tried, and `plan` only reads it.
    if command == "plan" or message.startswith("{recipe}"):
        assert not (tmp_path / "store").exists()


def test_a_registered_version_that_is_not_there_leaves_no_registry_behind(language: Path, tmp_path: Path) -> None:
    change(language, pretraining__init="models:/tiny-lm/1")
    for command in ("run", "plan"):
        done = cli.modelmill(command, language, "--store", f"file://{tmp_path}/store")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "models:/tiny-lm/1: no such model version" in done.stderr
        assert not [file for file in (tmp_path / "store").glob("*") if file.is_file()]


def test_a_mistake_in_an_override_names_it(language: Path, tmp_path: Path) -> None:
    done = cli.modelmill("plan", language, "--set", "fine_tuning.learning_rte=1", "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2
    assert "fine_tuning.learning_rte: unknown key; did you mean 'learning_rate'?" in done.stderr


def test_json_gives_the_mistake_to_machines(language: Path, tmp_path: Path) -> None:
    done = cli.modelmill("run", change(language, seed=-1), "--store", f"file://{tmp_path}/store", "--json")
    assert done.returncode == 2
    printed = json.loads(done.stdout)
    assert set(printed) == {"error", "exit_code"}
    assert (printed["exit_code"], printed["error"]["kind"]) == (2, "user")
    assert "seed: input should be greater than or equal to 0" in printed["error"]["message"]
    assert done.stderr == f"modelmill: {printed['error']['message']}\n"


def truncate_gzip(recipe: Path) -> None:
    import gzip

    shard = recipe.parent / "data" / "part-01.jsonl"
    packed = gzip.compress(shard.read_bytes())
    shard.unlink()
    shard.with_suffix(".jsonl.gz").write_bytes(packed[: len(packed) // 2])


def cut(recipe: Path) -> None:
    shard = recipe.parent / "data" / "part-01.jsonl"
    shard.write_bytes(shard.read_bytes()[:-20])


def overwrite(recipe: Path) -> None:
    (recipe.parent / "data" / "part-01.jsonl").write_bytes(b"\x00\xff\x00\xff" * 100)


def name_a_missing_column(recipe: Path) -> None:
    expectation = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nothing"}}
    (recipe.parent / "suite.json").write_text(json.dumps({"name": "s", "expectations": [expectation]}))


def leave_pairs_to_one_file(recipe: Path) -> None:
    for shard in sorted((recipe.parent / "data").iterdir())[1:]:
        shard.write_text(shard.read_text().replace("def scale", "class scale"))


# Found by the step that reads the data: a change, the step that says it, and what it says.
IN_A_STEP: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "truncated shard": (cut, "data_validation", ["{folder}/data/part-01.jsonl:10: cut off"]),
    "truncated gzip": (
        truncate_gzip,
        "data_validation",
        ["{folder}/data/part-01.jsonl.gz:1: the gz stream is cut off"],
    ),
    "unreadable shard": (overwrite, "data_validation", ["{folder}/data/part-01.jsonl:1: not UTF-8"]),
    "suite names a column that is not there": (
        name_a_missing_column,
        "data_validation",
        ["expectations[0] expect_column_values_to_not_be_null", "column 'nothing' that is not there"],
    ),
    "text column that is not there": (
        lambda r: change(r, preprocessing__text="body"),
        "preprocessing",
        ["preprocessing.text", "'body'"],
    ),
    "a split without pairs": (
        leave_pairs_to_one_file,
        "preprocessing",
        ["preprocessing.pairs: the ", " split has no pairs in its ", "set preprocessing.pairs and fine_tuning to none"],
    ),
    "split that leaves a split empty": (
        lambda r: change(r, preprocessing__validation=0.0001, preprocessing__test=0.0001),
        "preprocessing",
        ["preprocessing.validation and .test: the ", "split is empty"],
    ),
}


@pytest.mark.parametrize("mistake", IN_A_STEP)
def test_a_mistake_in_the_data_stops_the_run_before_training(mistake: str, language: Path, tmp_path: Path) -> None:
    make, step, said = IN_A_STEP[mistake]
    make(language)
    assert_stopped_by(step, said, language, tmp_path / "store")


def test_a_split_that_leaves_a_class_empty_names_the_class(table: Path, tmp_path: Path) -> None:
    shard = table.parent / "data" / "table.csv"
    lines = shard.read_text().splitlines()
    shard.write_text("\n".join([*(line for line in lines if not line.endswith("big")), "999,3.0,1.0,big"]) + "\n")
    said = ["class 'big' is missing from the", "split", "preprocessing.validation"]
    assert_stopped_by("preprocessing", said, table, tmp_path / "store")


def assert_stopped_by(step: str, said: list[str], recipe: Path, store: Path) -> None:
    done = cli.run_json(recipe, store)
    assert done["returncode"] == done["exit_code"] == 2
    assert done["failed_step"] == step
    *progress, problem, advice = done["stderr"].splitlines()
    for words in said:
        assert words.format(folder=recipe.parent) in problem
    assert problem == f"modelmill: {step}: {done['reason']}"
    assert not [line for line in progress if done["reason"] in line], "the problem is said once"
    assert advice.startswith("modelmill: log: ") and f"again: {done['resume']}" in advice
    *before, last = cli.statuses(done).items()
    assert last == (step, "failed"), "no step after it began"
    opened = open_store(f"file://{store}")
    assert {key.split("/")[1] for key in opened.list("memo/")} == {name for name, _ in before}
    assert not list(opened.list("checkpoints/"))
    log = opened.get(f"runs/{done['run_id']}/log.txt").decode()
    assert done["reason"] in log and "Traceback" not in log + done["stderr"]


def test_a_store_that_cannot_be_written_is_found_before_any_work(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = cli.modelmill("run", table, "--store", f"file://{tmp_path}/file/store")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"--store file://{tmp_path}/file/store: cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("store", "changes", "message"),
    [
        ("s3://absent-bucket/prefix", {}, "has no bucket absent-bucket"),
        ("s3://present/prefix", {"AWS_SECRET_ACCESS_KEY": "wrong-and-secret"}, "refuses the credentials"),
        ("s3://present/prefix", {"AWS_ACCESS_KEY_ID": "nobody"}, "refuses the credentials"),
        ("s3://present/prefix", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no usable credentials"),
        ("s3://present/prefix", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9"),
        ("ftp://somewhere", {}, "a store is file://FOLDER or s3://BUCKET/PREFIX"),
    ],
)
def test_a_store_that_refuses_is_found_before_any_work(
    command: str, store: str, changes: dict[str, str], message: str, table: Path, seaweedfs: SeaweedFS
) -> None:
    if "present" not in seaweedfs.buckets():
        seaweedfs.create_bucket("present")
    done = cli.modelmill(command, table, "--store", store, **{**seaweedfs.env, **changes})
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert f"--store {store}" in done.stderr
    assert "wrong-and-secret" not in done.stderr and seaweedfs.secret_key not in done.stderr
    assert not seaweedfs.client().list_objects_v2(Bucket="present").get("Contents")


def test_a_bucket_store_without_a_registry_says_what_to_set(table: Path, seaweedfs: SeaweedFS) -> None:
    store = seaweedfs.create_bucket("no-registry")
    done = cli.modelmill("run", table, "--store", store, **seaweedfs.env)
    assert done.returncode == 2
    assert "set MLFLOW_TRACKING_URI" in done.stderr
    assert not seaweedfs.client().list_objects_v2(Bucket="no-registry").get("Contents")


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_a_refused_secret_is_shown_nowhere(command: str, seaweedfs: SeaweedFS) -> None:
    store = f"s3://refused-{command}"
    seaweedfs.create_bucket(f"refused-{command}")
    changes = {"AWS_SECRET_ACCESS_KEY": "wrong-and-secret"}
    done = cli.modelmill(command, "--store", store, "--json", **{**seaweedfs.env, **changes})
    assert done.returncode == 2
    assert "refuses the credentials" in done.stdout
    assert "wrong-and-secret" not in done.stdout + done.stderr
