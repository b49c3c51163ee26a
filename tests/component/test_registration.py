"""A registered version against a real MLflow server and the default registry: what it holds, says and answers."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelmill.champion import champion_state
from modelmill.recipe import step_specs
from modelmill.runtime import run_records, tracking
from modelmill.store.manifest import Manifest
from tests.component.registrations import (
    LENGTH,
    PASSWORD,
    ROOT,
    USER,
    Case,
    assert_whole,
    download,
    make_case,
    start_apart,
    versions,
    write_table_model,
)

pytestmark = pytest.mark.usefixtures("nothing_set")


def test_a_registered_version_says_what_it_is_and_what_made_it(language: Case, registry: str, tmp_path: Path) -> None:
    import mlflow

    made = language.run()
    assert made.kind == "registration" and made.entries == []
    assert made.info == {"name": language.name, "version": "1"}
    record = run_records.read_step(language.store, language.run_id(1), "registration")
    assert record is not None and record.headline == f"{language.name} v1 @champion"
    assert record.metrics == {
        "version": "1",
        "alias": "champion",
        "decision": "promoted",
        "why": "there was no champion",
    }
    (version,) = versions(language)
    assert {key: value for key, value in version.tags.items() if key.startswith("modelmill.")} == {
        "modelmill.key": version.tags["modelmill.key"],
        "modelmill.recipe": "tiny-lm",
        "modelmill.run_id": language.run_id(1),
        "modelmill.code": step_specs.source_of("registration", "language_modeling"),
        "modelmill.verified": "true",
        "modelmill.log": champion_state.read(language.store, language.name).log,
        "modelmill.package": version.tags["modelmill.package"],
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
    assert (folder / "README.md").read_text() == version.description
    lines = (folder / "requirements.txt").read_text().split()
    assert {"torch==2.13.0", "transformers==5.23.0", "tokenizers==0.23.3"} <= set(lines)
    assert all("==" in line for line in lines)
    if registry == "default":
        assert (language.folder / "store" / "mlartifacts").is_dir()


def test_nothing_in_a_version_is_a_pickle_or_names_this_machine(language: Case, tmp_path: Path) -> None:
    language.run()
    folder = download(language, tmp_path / "down")
    files = [f for f in folder.rglob("*") if f.is_file()]
    assert {f.suffix for f in files} <= {"", ".json", ".yaml", ".txt", ".py", ".safetensors", ".md"}
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
        framed = torch.tensor([[0, *ids[-room:], 1] if tuned else [0, *ids[-room:]]])
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
    assert "torch==2.13.0\n" in needed and "safetensors==0.8.0" in needed


@pytest.mark.parametrize("seen_by", ["manifest", "dag"])
def test_a_model_that_missed_its_gate_is_not_registered(tmp_path: Path, language_folder: Path, seen_by: str) -> None:
    case = make_case(tmp_path, language_folder, "language_modeling", passed=seen_by == "dag")
    case.arguments["passed"] = seen_by == "manifest"
    with pytest.raises(SystemExit) as stopped:
        case.run()
    assert stopped.value.code == 3
    assert not (tmp_path / "store" / "mlflow.db").exists()


def test_the_step_prints_a_few_lines_of_its_own_and_imports_no_torch(language: Case, server: str) -> None:
    process = start_apart(language)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    *lines, last = output.splitlines()
    assert last == "no torch quiet"
    assert all(re.match(r"[\d-]+ [\d:,]+ INFO registration ", line) for line in lines), output
    assert PASSWORD not in output and USER not in output


def test_a_model_in_a_bucket_is_registered_with_its_dataset_there(
    tmp_path: Path, language_folder: Path, server: str, bucket: str
) -> None:
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
