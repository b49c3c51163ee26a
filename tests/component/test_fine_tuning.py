"""What fine-tuning makes of a trained model: adapters, their merge, and ONNX."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from modelmill.components.fine_tuning import export
from modelmill.core.errors import ModelmillError
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.tasks.tabular_classification.task import MLP
from tests.component.steps import Steps
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table


class Pretrained:
    """A tiny pretrained language model, to be fine-tuned in several ways."""

    def __init__(self, folder: Path) -> None:
        self.recipe = language_recipe(folder, write_corpus(folder / "data"))
        self.steps = Steps(self.recipe, folder / "steps")
        self.corpus = self.steps.corpus()
        self.model = self.steps.pretrained(self.corpus)

    def steps_with(self, folder: Path, *overrides: str) -> Steps:
        steps = Steps(self.recipe, folder, *overrides)
        steps.store = self.steps.store
        return steps

    def tuned(self, folder: Path, *overrides: str) -> tuple[Steps, Manifest]:
        steps = self.steps_with(folder, *overrides)
        return steps, steps.tuned(self.corpus, self.model)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return Pretrained(tmp_path_factory.mktemp("pretrained"))


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_kept_adapter_on_the_pretrained_model_says_what_the_merged_model_says(
    pretrained: Pretrained, method: str, tmp_path: Path
) -> None:
    from peft import PeftModel

    steps, made = pretrained.tuned(tmp_path / "steps", f"fine_tuning.method={method}", "fine_tuning.lora.dropout=0.1")
    adapter = steps.folder_of(made, "adapter")
    names = set(load_file(adapter / "adapter_model.safetensors"))
    assert any("lora_magnitude_vector" in name for name in names) == (method == "dora")
    assert json.loads((adapter / "adapter_config.json").read_text())["use_dora"] == (method == "dora")
    base = AutoModelForCausalLM.from_pretrained(steps.folder_of(pretrained.model, "model"))
    ids = torch.arange(48).reshape(2, 24)
    before = logits(base, ids)
    adapted = logits(PeftModel.from_pretrained(base, adapter), ids)
    merged = logits(AutoModelForCausalLM.from_pretrained(steps.folder_of(made, "model")), ids)
    assert torch.allclose(adapted, merged, atol=1e-5)
    assert (before - merged).abs().max() > 1e-2, "it has learned something"


def test_dora_is_not_lora_under_another_name(pretrained: Pretrained, tmp_path: Path) -> None:
    made = [pretrained.tuned(tmp_path / method, f"fine_tuning.method={method}")[1] for method in ("lora", "dora")]
    again = pretrained.tuned(tmp_path / "again", "fine_tuning.method=dora")[1]
    assert made[0].digest != made[1].digest == again.digest


def test_a_merge_that_changes_logits_fails_by_name(
    pretrained: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import Linear

    right = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, adapter: 1.01 * right(self, adapter))
    steps = pretrained.steps_with(tmp_path / "steps", "fine_tuning.lora.alpha=17.0")
    code, message = steps.fails("fine_tuning", ["model"], corpus=pretrained.corpus, pretrained=pretrained.model)
    assert code == 1
    assert re.match(r"fine_tuning: merging the adapters: logits differ by up to \d\S+, where \S+ could be", message)


def test_adapters_on_a_head_that_shares_its_weights_are_the_users_mistake(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    steps = pretrained.steps_with(tmp_path / "steps", "fine_tuning.lora.target_modules=[q_proj, lm_head]")
    code, message = steps.fails("fine_tuning", ["model"], corpus=pretrained.corpus, pretrained=pretrained.model)
    assert code == 2
    assert "fine_tuning.lora.target_modules: lm_head shares its weights with the embedding" in message


# Run isolated (-I) in another folder, with what is installed but for links to sources such as ours (-S).
CLEAN = """
import importlib.util, sys
sys.path.append(sys.argv[2])
assert importlib.util.find_spec("components") is None and importlib.util.find_spec("pipelines") is None
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], local_files_only=True, use_safetensors=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
ids = tokenizer("def area(self):", return_tensors="pt").input_ids
out = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.eos_token_id)
print(out.tolist())
print(tokenizer.decode(out[0, : ids.shape[1]]))
assert "components" not in sys.modules
"""


def test_a_clean_process_that_has_never_heard_of_us_loads_the_model_and_generates(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    steps, made = pretrained.tuned(tmp_path / "steps")
    folder = steps.folder_of(made, "model")
    command = [sys.executable, "-I", "-S", "-c", CLEAN, str(folder), sysconfig.get_path("purelib")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, ids, prompt = done.stdout.splitlines()
    model = AutoModelForCausalLM.from_pretrained(folder)
    length = len(json.loads(ids)[0]) - 8
    here = model.generate(torch.tensor(json.loads(ids))[:, :length], max_new_tokens=8, do_sample=False)
    assert json.loads(ids) == here.tolist()
    assert prompt == "def area(self):"


def test_a_language_model_in_onnx_takes_any_batch_and_length(pretrained: Pretrained, tmp_path: Path) -> None:
    steps, made = pretrained.tuned(tmp_path / "steps", "fine_tuning.onnx=true")
    assert pretrained.tuned(tmp_path / "none")[1].under("onnx") == []
    file = steps.folder_of(made, "onnx") / "model.onnx"
    session = onnxruntime.InferenceSession(file)
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("input_ids", ["batch", "length"])]
    model = AutoModelForCausalLM.from_pretrained(steps.folder_of(made, "model"))
    for shape in ((1, 1), (3, 7), (2, 64)):
        ids = torch.randint(0, 320, shape)
        (found,) = session.run(["logits"], {"input_ids": ids.numpy()})
        assert np.abs(found - logits(model, ids).numpy()).max() < 1e-4
    content = file.read_bytes()
    for origin in (b".py", str(Path.cwd()).encode(), sysconfig.get_path("purelib").encode(), b"stack_trace"):
        assert origin not in content
    again = Pretrained(tmp_path / "again").tuned(tmp_path / "again" / "steps", "fine_tuning.onnx=true")[1]
    assert again.entry("onnx/model.onnx").sha256 == made.entry("onnx/model.onnx").sha256


def test_a_classifier_in_onnx_says_what_it_says(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), fine_tuning__steps=20)
    steps = Steps(recipe, tmp_path / "steps", "fine_tuning.onnx=true")
    corpus = steps.corpus()
    made = steps.tuned(corpus, steps.pretrained(corpus))
    session = onnxruntime.InferenceSession(steps.folder_of(made, "onnx") / "model.onnx")
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("features", ["batch", 2])]
    model = MLP({"features": ["a", "b"], "hidden": [4], "outputs": 1, "activation": "sigmoid"})
    model.load_state_dict(load_file(steps.folder_of(made, "model") / "model.safetensors"))
    for rows in (1, 5):
        features = torch.randn(rows, 2)
        (found,) = session.run(None, {"features": features.numpy()})
        assert np.allclose(found, model(features).detach().numpy(), atol=1e-6)


def test_onnx_that_says_something_else_fails_by_name_before_training(
    pretrained: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: Any, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        found = model(input_ids=values, use_cache=False).logits
        return found * 1.01 if torch.compiler.is_exporting() else found

    monkeypatch.setattr(LanguageModeling, "logits", wrong)
    overrides = ("fine_tuning.onnx=true", "seed=2", "fine_tuning.checkpoint_seconds=0")
    steps = pretrained.steps_with(tmp_path / "steps", *overrides)
    code, message = steps.fails("fine_tuning", ["model"], corpus=pretrained.corpus, pretrained=pretrained.model)
    assert code == 1
    assert re.match(r"fine_tuning.onnx: logits differ by up to \d\S+, where .*; set fine_tuning.onnx: false", message)
    assert not list(steps.store.list(f"checkpoints/{steps.record('fine_tuning').key}/"))


def test_onnx_without_its_libraries_is_found_before_training(
    pretrained: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LIBRARIES", ("onnx", "no_such_library"))
    steps = pretrained.steps_with(tmp_path / "steps", "fine_tuning.onnx=true", "seed=3")
    code, message = steps.fails("fine_tuning", ["model"], corpus=pretrained.corpus, pretrained=pretrained.model)
    assert code == 2
    assert "fine_tuning.onnx: no_such_library is not installed; pip install 'modelmill[onnx]'" in message


class Plain:
    """A task of tensors, for models made here."""

    input, axes = "values", ("batch",)

    def logits(self, model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        return model(values)


class Branching(nn.Module):
    """What a graph cannot hold: code that depends on numbers."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values if values.sum().item() > 0 else -values


def test_a_model_that_torch_cannot_export_is_named(tmp_path: Path) -> None:
    task: Any = Plain()
    with pytest.raises(ModelmillError, match=r"^fine_tuning\.onnx: torch cannot export this model: .*data-dependent"):
        export.export(task, Branching(), torch.ones(2, 3), tmp_path)


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1 << 16)
    task: Any = Plain()
    torch.manual_seed(0)
    model, values = nn.Linear(200, 200), torch.randn(2, 200)
    for name in ("one", "other"):
        export.export(task, model, values, tmp_path / name)
    one, other = (sorted((tmp_path / name / "onnx").iterdir()) for name in ("one", "other"))
    assert [file.name for file in one] == ["model.onnx", "model.onnx.data"]
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
    assert one[0].stat().st_size < 1 << 16 < one[1].stat().st_size
