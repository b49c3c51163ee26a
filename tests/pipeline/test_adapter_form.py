"""An adapter that is registered as such: what is written, what it answers, and what another base gets."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pytest

from modelmill.store import manifest, open_store
from tests import cli
from tests.pipeline.conftest import Finished
from tests.pipeline.test_predict import direct, served
from tests.recipes import change, language_recipe

BASE = "models:/tiny-lm/1"
FROM_BASE = ("--set", f"preprocessing.tokenizer.from={BASE}", "--set", f"pretraining.init={BASE}")
ASKED = json.dumps({"prompt": "def area(self):\n    return 1\n"})
# MLflow loads it where Modelmill cannot be imported, as its own server does.
CHILD = """
import json, sys
sys.modules["modelmill"] = None
import mlflow, pandas
served = mlflow.pyfunc.load_model("models:/tiny-adapter@champion")
print(served.predict(pandas.DataFrame([json.loads(sys.argv[1])])).to_json(orient="records", lines=True))
"""


class Forms:
    """One fine-tuning of a registered base, registered as an adapter and then merged.

    Attributes:
        recipe: The recipe of both.
        store: The store of both.
        runs: What `run --json` printed, by form.
        written: Bytes of each file that a run has added to the store's blobs, by form.
    """

    def __init__(self, base: Finished, folder: Path) -> None:
        self.recipe = base.recipe
        self.store = base.copy(folder)
        self.runs: dict[str, Any] = {}
        self.written: dict[str, list[int]] = {}
        for form in ("adapter", "merged"):
            before = set(self.files())
            changes = ("pretraining.steps=0", f"registration.form={form}", f"registration.model=tiny-{form}")
            settings = [part for change in changes for part in ("--set", change)]
            self.runs[form] = cli.run_json(base.recipe, self.store, *FROM_BASE, *settings)
            assert self.runs[form]["returncode"] == 0, self.runs[form]["stderr"]
            self.written[form] = [file.stat().st_size for file in self.files() if file not in before]

    def files(self) -> list[Path]:
        return [file for file in (self.store / "objects" / "blobs").rglob("*") if file.is_file()]

    def package(self, name: str, folder: Path) -> Path:
        """The files of a registered version."""
        cli.registry(self.store)
        return Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(folder)))

    def made(self, form: str, step: str) -> manifest.Manifest:
        digest = next(one["output_digest"] for one in self.runs[form]["steps"] if one["name"] == step)
        return manifest.load(open_store(f"file://{self.store}"), digest)

    def ask(self, model: str, **env: str) -> subprocess.CompletedProcess[str]:
        return cli.modelmill("predict", model, "-", "--store", f"file://{self.store}", stdin=ASKED, **env)


@pytest.fixture(scope="module")
def forms(language_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    return Forms(language_run, tmp_path_factory.mktemp("forms"))


def test_an_adapter_is_registered_without_its_base_and_names_it(forms: Forms, tmp_path: Path) -> None:
    base = forms.made("adapter", "pretraining").entry("model/model.safetensors")
    assert base.bytes in forms.written["merged"]
    assert max(forms.written["adapter"]) < base.bytes
    (version,) = cli.registry(forms.store).search_model_versions("name='tiny-adapter'")
    assert (version.tags["modelmill.form"], version.tags["modelmill.base"]) == ("adapter", BASE)
    package = forms.package("tiny-adapter", tmp_path) / "artifacts"
    named = json.loads((package / "base.json").read_text())
    assert (named["source"], named["digest"]) == (BASE, version.tags["modelmill.base_digest"])
    assert named["files"]["model.safetensors"] == base.sha256
    assert (package / "adapter" / "adapter_model.safetensors").is_file()
    assert not list((package / "model").glob("*.safetensors"))
    assert "peft==" in (package.parent / "requirements.txt").read_text()


def test_an_unchanged_base_is_handed_on_as_it_came_in(forms: Forms, language_run: Finished) -> None:
    assert cli.weights_of(forms.store, forms.runs["adapter"], "pretraining") == cli.weights_of(
        language_run.store, language_run.summary
    )


def test_both_forms_are_one_model(forms: Forms) -> None:
    adapter, merged = (forms.made(form, "evaluation").info["metrics"] for form in ("adapter", "merged"))
    assert adapter == merged
    answers = [forms.ask(f"tiny-{form}") for form in ("adapter", "merged")]
    assert [answer.returncode for answer in answers] == [0, 0], answers
    assert answers[0].stdout == answers[1].stdout
    uri = f"sqlite:///{forms.store}/mlflow.db"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, ASKED], capture_output=True, text=True, env=environment, cwd=forms.store
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(answers[0].stdout)


def test_mlflow_serves_an_adapter_over_http(forms: Forms, tmp_path: Path) -> None:
    with served(Finished(Path("tiny-adapter.yaml"), forms.store, {}), tmp_path) as port:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps({"dataframe_records": [json.loads(ASKED)]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        answer = json.loads(direct().open(request, timeout=60).read())
    assert answer == {"predictions": [json.loads(forms.ask("tiny-merged").stdout)]}


def test_a_base_in_a_folder_serves_where_no_registry_is_reached_and_another_one_is_refused(
    forms: Forms, tmp_path: Path
) -> None:
    folder = forms.package("tiny-lm", tmp_path / "base") / "artifacts" / "model"
    there = forms.ask("tiny-adapter", MODELMILL_BASE=str(folder))
    assert (there.returncode, there.stdout) == (0, forms.ask("tiny-adapter").stdout)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    other = forms.ask("tiny-adapter", MODELMILL_BASE=str(folder))
    assert (other.returncode, len(other.stderr.splitlines())) == (2, 1)
    assert f"{folder} is another base than the adapter was trained on: model.safetensors has digest" in other.stderr
    gone = forms.ask("tiny-adapter", MODELMILL_BASE=str(tmp_path / "gone"))
    assert (gone.returncode, len(gone.stderr.splitlines())) == (2, 1)


def test_an_adapter_is_no_model_to_start_from(forms: Forms) -> None:
    adapter = cli.registry(forms.store).search_model_versions("name='tiny-adapter'")[0]
    settings = ("--set", f"pretraining.init=models:/tiny-adapter/{adapter.version}", "--set", "pretraining.steps=0")
    done = cli.modelmill("plan", forms.recipe, *settings, "--store", f"file://{forms.store}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "it was registered as an adapter, without the weights of its base" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "needs a registered base, which a served model can fetch: set pretraining.init to models:/NAME/VERSION"),
        ({"pretraining__init": "/some/folder", "pretraining__steps": 0}, "it is /some/folder; or set form: merged"),
        ({"pretraining__init": BASE}, "needs pretraining.steps: 0, because the base must stay the registered one"),
        ({"fine_tuning__method": "full"}, "needs fine_tuning.method lora or dora, or set form: merged"),
    ],
)
def test_an_adapter_without_a_base_that_can_be_fetched_is_refused_by_the_plan(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    recipe = change(language_recipe(tmp_path, tmp_path), registration__form="adapter", **changes)
    done = cli.modelmill("plan", recipe, "--store", f"file://{tmp_path}/store")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "registration.form: adapter" in done.stderr and said in done.stderr
