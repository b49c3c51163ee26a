"""Registration against a real MLflow server and the default registry: one verified version a key, whoever is killed."""

import itertools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.common import manifest, memo, runs, tracking
from components.common import recipe as recipes
from components.common.errors import ModelmillError
from components.common.manifest import Entry, Manifest
from components.common.store import Store, open_store
from components.registration import step as registration
from tests.mlflow_server import MlflowServer, free_port
from tests.recipes import language_recipe, table_recipe
from tests.seaweedfs import SeaweedFS

USER, PASSWORD = "someone", "hunter2-secret"
LIBRARIES = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "tokenizers": "0.23.3", "safetensors": "0.8.0"}
LIBRARIES["numpy"] = "2.4.6"
SPECIAL = ["<|endoftext|>", "<|response|>"]
LENGTH = 64
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and a tokenizer of bytes, as save_pretrained writes them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("language")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


def write_table_model(folder: Path, activation: str, classes: list[str]) -> None:
    """A 2-4-n perceptron with random weights."""
    from safetensors.numpy import save_file

    outputs = 1 if len(classes) == 2 else len(classes)
    random = np.random.default_rng(4)
    sizes = [2, 4, outputs]
    tensors = {}
    for n, (a, b) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{n}.weight"] = random.normal(size=(b, a), scale=2).astype(np.float32)
        tensors[f"layers.{n}.bias"] = random.normal(size=b).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "type": "mlp",
        "features": ["width", "height"],
        "classes": classes,
        "hidden": [4],
        "activation": activation,
        "outputs": outputs,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "scaler.json").write_text(json.dumps({"mean": [2.0, 1.5], "scale": [0.5, 3.0]}))


# A pair as the recipe's separator frames it.
FRAME = {"before": [0], "between": [1], "after": [0], "stop": 0, "trims": False}


@dataclass
class Case:
    """Everything that a registration is given, in a store of its own."""

    folder: Path
    store: Store
    name: str
    arguments: dict[str, Any]
    manifests: dict[str, Manifest]

    def run_id(self, number: int) -> str:
        return f"{self.name}-run-{number}"

    def run(self, number: int = 1) -> Manifest:
        """Register in this process; raises SystemExit as the step does."""
        registration.run(**{**self.arguments, "run_id": self.run_id(number)})
        return Manifest.parse(Path(self.arguments["registration"]).read_bytes())

    def forget(self) -> None:
        """Delete the memo, as if the process had died just before it was written."""
        for key in list(self.store.list("memo/registration/")):
            self.store.delete(key)

    def problem(self, number: int = 1) -> runs.Problem:
        record = runs.read_step(self.store, self.run_id(number), "registration")
        assert record is not None and record.problem is not None
        return record.problem


def make_case(
    tmp_path: Path, model_folder: Path, task: str, passed: bool = True, tuned: bool = True, store_uri: str = ""
) -> Case:
    store = open_store(store_uri or f"file://{tmp_path}/store")
    name = f"m-{uuid.uuid4().hex[:12]}"
    write = language_recipe if task == "language_modeling" else table_recipe
    recipe = recipes.load(write(tmp_path, tmp_path / "data"), [f"registration.model={name}"])
    metrics = {"bits_per_byte": 2.5} if task == "language_modeling" else {"accuracy": 0.9}
    checks = [{"metric": m, "value": v, "min": None, "max": 8.0, "passed": passed} for m, v in metrics.items()]
    gate = json.dumps({"passed": passed, "checks": checks}).encode()
    files = sorted(f for f in model_folder.iterdir() if f.is_file())
    corpus = Manifest(kind="corpus", info={"sequence_length": LENGTH, "end_of_text": 0, "frame": FRAME})
    columns = {"width": "double", "height": "int64", "kind": "string"}
    manifests = {
        # Of one name and digest, MLflow's server keeps the source that it was told first.
        "dataset": Manifest(
            kind="dataset",
            location="source",
            entries=[Entry(path=f"{name}.csv", sha256="0" * 64, bytes=9, rows=200)],
            info={"format": "csv", "rows": 200, "columns": columns},
        ),
        "validation": Manifest(kind="validation", info={"success": True}),
        "model": Manifest(
            kind="model",
            entries=[
                *(manifest.add_file(store, f, f"model/{f.name}") for f in files),
                manifest.add_bytes(store, b"{}", "adapter/adapter_config.json"),
                manifest.add_bytes(store, b"{}\n", "history.jsonl"),
            ],
            made_from={"preprocessing.corpus": manifest.save(store, corpus)},
            info={
                "task": task,
                "stage": "fine_tuning",
                "trained": tuned,
                "parameters": 42,
                "steps": 7,
                "libraries": LIBRARIES,
            },
        ),
        "evaluation": Manifest(
            kind="evaluation",
            entries=[manifest.add_bytes(store, gate, "gate.json")],
            info={"passed": passed, "metrics": metrics},
        ),
    }
    for key, made in manifests.items():
        manifest.save(store, made)
        (tmp_path / f"{key}.json").write_bytes(made.to_json())
    arguments = {
        "recipe": recipes.to_json(recipe),
        "store": store.uri,
        "run_id": f"{name}-run-1",
        "passed": True,
        **{key: str(tmp_path / f"{key}.json") for key in manifests},
        "registration": str(tmp_path / "out" / "registration"),
    }
    return Case(tmp_path, store, name, arguments, manifests)


@pytest.fixture
def language(tmp_path: Path, language_folder: Path) -> Case:
    return make_case(tmp_path, language_folder, "language_modeling")


@pytest.fixture
def server(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server with credentials in its URI, which must never be seen again."""
    uri = f"http://{USER}:{PASSWORD}@127.0.0.1:{mlflow_server.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture(params=["server", "default"])
def registry(request: pytest.FixtureRequest) -> str:
    if request.param == "server":
        request.getfixturevalue("server")
    return str(request.param)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the person who runs the tests, and a current folder in which anything that is left shows."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert not list(here.iterdir()), "something was written into the current folder"


def versions(case: Case) -> list[Any]:
    with tracking.client(case.store) as client:
        return list(client.search_model_versions(f"name = '{case.name}'"))


def download(case: Case, target: Path) -> Path:
    return tracking.download_version(case.store, f"models:/{case.name}@champion", target)


def assert_whole(case: Case) -> None:
    """Exactly one version, verified, and the champion."""
    (version,) = versions(case)
    assert version.tags["modelmill.verified"] == "true"
    assert tracking.aliases(case.store, case.name, version.version) == ["champion"]


def test_a_registered_version_says_what_it_is_and_what_made_it(language: Case, registry: str, tmp_path: Path) -> None:
    import mlflow

    made = language.run()
    assert made.kind == "registration" and made.entries == []
    assert made.info == {"name": language.name, "version": "1"}
    record = runs.read_step(language.store, language.run_id(1), "registration")
    assert record is not None and record.headline == f"{language.name} v1 @champion"
    assert record.metrics == {"version": "1", "alias": "champion"}
    (version,) = versions(language)
    assert {key: value for key, value in version.tags.items() if key.startswith("modelmill.")} == {
        "modelmill.key": record.key,
        "modelmill.recipe": "tiny-lm",
        "modelmill.run_id": language.run_id(1),
        "modelmill.code": memo.code_of("registration")["source"],
        "modelmill.verified": "true",
        **{f"modelmill.{key}": m.digest for key, m in language.manifests.items()},
    }
    assert "bits_per_byte | 2.5 | at most 8" in version.description
    assert f'load_model("models:/{language.name}@champion")' in version.description
    with tracking.client(language.store) as client:
        run = client.get_run(version.run_id)
        logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert run.info.status == "FINISHED" and run.data.tags["modelmill.run_id"] == language.run_id(1)
    assert run.data.metrics["bits_per_byte"] == 2.5
    assert {m.key: m.value for m in logged.metrics} == {"bits_per_byte": 2.5}
    dataset = run.inputs.dataset_inputs[0].dataset
    assert dataset.digest == language.manifests["dataset"].digest[:36]
    source = Path(mlflow.data.get_source(dataset).load())
    assert Manifest.parse(source.read_bytes()) == language.manifests["dataset"]
    folder = download(language, tmp_path / "down")
    info = mlflow.models.get_model_info(str(folder))
    assert info.signature.inputs.input_names() == ["prompt"]
    assert info.signature.params.params[0].name == "max_new_tokens"
    assert info.signature.outputs.input_names() == ["completion"]
    assert info.saved_input_example_info is not None
    lines = (folder / "requirements.txt").read_text().split()
    assert {"torch==2.13.0", "transformers==5.23.0", "tokenizers==0.23.3"} <= set(lines)
    assert all("==" in line for line in lines)
    if registry == "default":
        assert (language.folder / "store" / "mlartifacts").is_dir()


def test_nothing_in_a_version_is_a_pickle_or_names_this_machine(language: Case, tmp_path: Path) -> None:
    language.run()
    folder = download(language, tmp_path / "down")
    files = [f for f in folder.rglob("*") if f.is_file()]
    assert {f.suffix for f in files} <= {"", ".json", ".yaml", ".txt", ".py", ".safetensors"}
    model = language.manifests["model"]
    assert {f.name for f in (folder / "artifacts" / "model").iterdir()} == {
        e.path.removeprefix("model/") for e in model.under("model")
    }
    for file in files:
        data = file.read_bytes()
        assert not re.match(rb"\x80[\x02-\x05]", data), f"{file.name} is a pickle"
        if file.name != "MLmodel":  # it names its own place in the registry
            assert str(ROOT).encode() not in data and b"modelmill-registration" not in data


def test_the_model_folder_loads_in_a_process_that_knows_only_transformers(language: Case, tmp_path: Path) -> None:
    language.run()
    folder = download(language, tmp_path / "down") / "artifacts" / "model"
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "m = AutoModelForCausalLM.from_pretrained(sys.argv[1]); AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "print(sum(p.numel() for p in m.parameters()))"
    )
    output = subprocess.run(
        [sys.executable, "-P", "-c", code, folder], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert int(output.stdout) > 1000


@pytest.mark.parametrize("tuned", [True, False])
def test_the_served_language_model_is_asked_as_it_was_trained(
    tmp_path: Path, language_folder: Path, tuned: bool
) -> None:
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    case = make_case(tmp_path, language_folder, "language_modeling", tuned=tuned)
    case.run()
    # One that fits, one with the name of a special token in it, one that is longer than the model's window.
    prompts = ["def area(w, h):", "x<|response|>", "".join(f"{n} " for n in range(40))]
    with tracking.client(case.store):
        served = mlflow.pyfunc.load_model(f"models:/{case.name}@champion")
    frame = served.predict(pd.DataFrame({"prompt": prompts}), params={"max_new_tokens": 9})
    model, tokenizer = (c.from_pretrained(language_folder) for c in (AutoModelForCausalLM, AutoTokenizer))
    expected = []
    for prompt in prompts:
        ids = tokenizer(prompt, split_special_tokens=True, add_special_tokens=False)["input_ids"]
        room = LENGTH - 9 - 1 - tuned
        framed = torch.tensor([[0, *ids[:room], 1] if tuned else [0, *ids[-room:]]])
        output = model.generate(
            framed, attention_mask=torch.ones_like(framed), max_new_tokens=9, do_sample=False, pad_token_id=0
        )
        expected.append(tokenizer.decode(output[0, framed.shape[1] :], skip_special_tokens=True))
    assert frame["completion"].tolist() == expected
    assert all(expected)


@pytest.mark.parametrize(
    ("activation", "classes"),
    [("sigmoid", ["big", "small"]), ("gelu", ["a", "b", "c"]), ("relu", ["big", "small"]), ("tanh", ["a", "b", "c"])],
)
def test_the_served_classifier_answers_as_torch_does(tmp_path: Path, activation: str, classes: list[str]) -> None:
    import mlflow
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "mlp"
    folder.mkdir()
    write_table_model(folder, activation, classes)
    case = make_case(tmp_path, folder, "tabular_classification")
    case.run()
    with tracking.client(case.store):
        served = mlflow.pyfunc.load_model(f"models:/{case.name}@champion")
    rows = np.random.default_rng(1).normal(2, 3, size=(50, 2))
    rows[:, 1] = rows[:, 1].round()
    # Columns in another order, and one that the model does not know.
    answer = served.predict(pd.DataFrame({"height": rows[:, 1].astype(np.int64), "id": range(50), "width": rows[:, 0]}))
    tensors = load_file(folder / "model.safetensors")
    features = torch.tensor((rows - [2.0, 1.5]) / [0.5, 3.0], dtype=torch.float32)
    functions: dict[str, Any] = {"sigmoid": torch.sigmoid, "relu": torch.relu, "tanh": torch.tanh}
    function = functions.get(activation, torch.nn.functional.gelu)
    hidden = function(features @ tensors["layers.0.weight"].T + tensors["layers.0.bias"])
    logits = hidden @ tensors["layers.1.weight"].T + tensors["layers.1.bias"]
    if len(classes) == 2:
        positive = torch.sigmoid(logits)
        expected = torch.cat([1 - positive, positive], dim=1)
    else:
        expected = torch.softmax(logits, dim=1)
    best = expected.max(dim=1)
    assert answer["label"].tolist() == [classes[i] for i in best.indices]
    assert len(set(answer["label"])) > 1
    np.testing.assert_allclose(answer["probability"], best.values.numpy(), rtol=1e-5)
    needed = (download(case, tmp_path / "down") / "requirements.txt").read_text()
    assert "torch" not in needed and "safetensors==0.8.0" in needed


def test_the_same_key_again_is_the_same_version(language: Case, registry: str) -> None:
    first = language.run()
    language.forget()
    assert language.run(2).info == first.info
    assert_whole(language)
    with tracking.client(language.store) as client:
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        assert len(client.search_logged_models(everywhere, f"name = '{language.name}'")) == 1


def test_other_weights_are_a_second_version_and_the_new_champion(language: Case, tmp_path: Path) -> None:
    language.run()
    changed = language.manifests["model"].model_copy(update={"info": {**language.manifests["model"].info, "steps": 8}})
    Path(language.arguments["model"]).write_bytes(changed.to_json())
    assert language.run(2).info["version"] == "2"
    assert tracking.aliases(language.store, language.name, "2") == ["champion"]
    # The first one was finished: that it is registered again does not take the alias back.
    language.forget()
    Path(language.arguments["model"]).write_bytes(language.manifests["model"].to_json())
    assert language.run(3).info["version"] == "1"
    assert tracking.aliases(language.store, language.name, "2") == ["champion"]


def test_a_half_finished_version_is_completed(language: Case) -> None:
    language.run()
    with tracking.client(language.store) as client:
        client.delete_registered_model_alias(language.name, "champion")
        client.delete_model_version_tag(language.name, "1", "modelmill.verified")
        client.delete_model_version_tag(language.name, "1", "modelmill.dataset")
    language.forget()
    language.run(2)
    assert_whole(language)
    (version,) = versions(language)
    assert version.tags["modelmill.dataset"] == language.manifests["dataset"].digest
    assert version.tags["modelmill.run_id"] == language.run_id(1)


def test_a_deleted_version_is_registered_again(language: Case) -> None:
    language.run()
    assert tracking.has_version(language.store, language.name, "1")
    with tracking.client(language.store) as client:
        client.delete_model_version(language.name, "1")
    assert not tracking.has_version(language.store, language.name, "1")
    assert language.run(2).info["version"] != ""
    assert_whole(language)


def test_bytes_that_mlflow_does_not_give_back_get_no_alias(language: Case) -> None:
    language.run()
    with tracking.client(language.store) as client:
        client.delete_registered_model_alias(language.name, "champion")
        client.delete_model_version_tag(language.name, "1", "modelmill.verified")
    (weights,) = (language.folder / "store" / "mlartifacts").rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    language.forget()
    with pytest.raises(SystemExit) as stopped:
        language.run(2)
    assert stopped.value.code == 1
    message = language.problem(2).message
    assert "model/model.safetensors has other bytes" in message and "run the same command again" in message
    (version,) = versions(language)
    assert version.tags["modelmill.verified"] == "false"
    assert tracking.aliases(language.store, language.name, "1") == []
    # Put right by hand, it is completed like any other.
    data[-1] ^= 1
    weights.write_bytes(data)
    language.run(3)
    assert_whole(language)


@pytest.mark.parametrize("seen_by", ["manifest", "dag"])
def test_a_model_that_missed_its_gate_is_not_registered(tmp_path: Path, language_folder: Path, seen_by: str) -> None:
    case = make_case(tmp_path, language_folder, "language_modeling", passed=seen_by == "dag")
    case.arguments["passed"] = seen_by == "manifest"
    with pytest.raises(SystemExit) as stopped:
        case.run()
    assert stopped.value.code == 3
    assert not (tmp_path / "store" / "mlflow.db").exists()


# Kills the process at a call to MLflow, before it is sent or after it was answered, or holds it there until all are.
CHILD = """
import json, os, pathlib, signal, sys, time
where, method = sys.argv[2].split(":")
if where != "never":
    import mlflow
    real = getattr(mlflow.MlflowClient, method)
    def deadly(*args, **kwargs):
        if where == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if where == "hold":
            pathlib.Path(sys.argv[3], str(os.getpid())).touch()
            deadline = time.monotonic() + 30
            while len(os.listdir(sys.argv[3])) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            return real(*args, **kwargs)
        real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(mlflow.MlflowClient, method, deadly)
from components.registration.step import run
run(**json.loads(sys.argv[1]))
from mlflow.telemetry.client import get_telemetry_client
print("torch" if "torch" in sys.modules else "no torch", "telemetry" if get_telemetry_client() else "quiet")
"""


def child(case: Case, *how: str) -> subprocess.Popen[str]:
    # Little else: in what looks like CI or a test, mlflow leaves its telemetry off by itself.
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", CHILD, json.dumps(case.arguments), *(how or ("never:",))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**kept, "PYTHONPATH": str(ROOT)},
    )


KILLS = [
    "after:create_logged_model",
    "before:create_model_version",
    "after:create_model_version",
    "before:set_registered_model_alias",
    "before:set_model_version_tag",
]


@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_a_call_and_run_again_there_is_one_whole_version(language: Case, server: str, kill: str) -> None:
    process = child(language, kill)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    language.run(2)
    assert_whole(language)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.45])
def test_killed_at_any_time_and_run_again_there_is_one_whole_version(language: Case, server: str, delay: float) -> None:
    process = child(language)
    assert process.stdout is not None
    for line in process.stdout:
        if "registering" in line:
            break
    time.sleep(delay)
    process.kill()
    process.communicate()
    language.run(2)
    assert_whole(language)


def test_three_that_register_one_key_at_once_leave_one_version(language: Case, server: str, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [child(language, "hold:create_model_version", str(meeting)) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert_whole(language)


def test_the_step_prints_a_few_lines_of_its_own_and_imports_no_torch(language: Case, server: str) -> None:
    process = child(language)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    *lines, last = output.splitlines()
    assert last == "no torch quiet"
    assert all(re.match(r"[\d-]+ [\d:,]+ INFO registration ", line) for line in lines), output
    assert PASSWORD not in output and USER not in output


def test_a_server_that_is_not_there_is_one_line_without_credentials(
    language: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{PASSWORD}@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as stopped:
        language.run()
    assert stopped.value.code == 1
    problem = language.problem()
    assert problem.kind == "failed"
    assert problem.message == (
        f"MLflow at http://127.0.0.1:{port}: does not answer ([Errno 111] Connection refused); "
        "put that right and run the same command again: nothing is trained again"
    )
    captured = capfd.readouterr()
    everything = captured.out + captured.err + caplog.text
    assert PASSWORD not in everything and USER not in everything
    assert "Traceback" not in everything
    with pytest.raises(ModelmillError, match="Connection refused") as refused:
        tracking.has_version(language.store, language.name, "1")
    assert PASSWORD not in str(refused.value) and "\n" not in str(refused.value)


def test_a_server_that_refuses_the_name_hints_at_its_allowed_hosts(
    language: Case, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another way to write 127.0.0.1, which is not in the server's list.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.1:{mlflow_server.port}")
    with pytest.raises(SystemExit) as stopped:
        language.run()
    assert stopped.value.code == 1
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" in language.problem().message


def test_a_model_in_a_bucket_is_registered_with_its_dataset_there(
    tmp_path: Path, language_folder: Path, server: str, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    bucket = seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}")
    case = make_case(tmp_path, language_folder, "language_modeling", store_uri=f"{bucket}/team")
    case.run()
    assert_whole(case)
    with tracking.client(case.store) as client:
        dataset = client.get_run(versions(case)[0].run_id).inputs.dataset_inputs[0].dataset
    assert dataset.source_type == "s3"
    key = json.loads(dataset.source)["uri"].removeprefix(f"{bucket}/team/")
    assert Manifest.parse(case.store.get(key)) == case.manifests["dataset"]


def test_registration_logs_into_the_run_that_kfp_injected(
    language: Case, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.client(language.store) as client:
        injected = client.create_run(client.create_experiment(language.name)).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", injected)
    language.run()
    (version,) = versions(language)
    assert version.run_id == injected
    with tracking.client(language.store) as client:
        run = client.get_run(injected)
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        assert not client.search_runs(everywhere, f"tags.`modelmill.run_id` = '{language.run_id(1)}'")
    assert run.info.status == "RUNNING"
    assert run.data.metrics["bits_per_byte"] == 2.5
