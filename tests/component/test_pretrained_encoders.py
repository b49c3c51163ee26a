"""Any encoder that transformers has classifies texts as transformers has it, fed in batches."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from modelmill.components.fine_tuning import lora
from modelmill.core.errors import UserError
from modelmill.recipe.adapters import AdaptedFineTuning
from modelmill.tasks.pretrained import heads
from modelmill.tasks.text_classification.pretrained import PretrainedTextClassification
from tests.pretrained import encoders
from tests.pretrained.encoders import LABELS, LENGTH, TEXTS, task_over

CPU = torch.device("cpu")
# What the tests of all families take is a fraction of a second each.
TESTED = [
    *("albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta"),
    *("xlm-roberta", "xlnet", "funnel", "gpt2"),
]


@torch.no_grad()
def as_transformers(folder: Path) -> torch.Tensor:
    """The logits of each text by itself, with the model's own tokenizer: (texts, classes)."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = [tokenizer(text, truncation=True, max_length=LENGTH, return_tensors="pt") for text in TEXTS]
    return torch.cat([model(**one).logits for one in inputs])


@torch.no_grad()
def in_batches(task: PretrainedTextClassification, model: torch.nn.Module) -> torch.Tensor:
    examples = task.examples("fine_tuning", "train")
    return task.answers(model.eval(), examples.batch(np.arange(len(examples))))


@pytest.mark.parametrize("family", TESTED)
def test_a_batch_gives_what_transformers_gives_each_text(family: str, tmp_path: Path) -> None:
    task, folder = encoders.task_of(family, tmp_path)
    model = task.load(folder)
    expected = as_transformers(folder)
    assert expected.std(0).min() > 1e-3, "the texts are not told apart"
    torch.testing.assert_close(in_batches(task, model), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert task.notes["head"] == "the checkpoint's" and "weights_left_out" not in task.notes
    (tmp_path / "saved").mkdir()
    task.save(model, tmp_path / "saved")
    torch.testing.assert_close(as_transformers(tmp_path / "saved"), expected)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "deberta-v2"])
def test_a_head_is_made_anew_on_a_network_that_was_trained_for_something_else(family: str, tmp_path: Path) -> None:
    encoders.write(family, tmp_path / "model", head="AutoModelForMaskedLM")
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    torch.manual_seed(1)
    model = task.load(tmp_path / "model")
    assert task.notes["head"] == "new" and all(heads.is_of_head(model, name) for name in task.new)
    given = load_file(tmp_path / "model" / "model.safetensors")
    kept = {name: weight for name, weight in model.named_parameters() if name not in task.new}
    assert kept.keys() <= given.keys()
    assert all(torch.equal(weight, given[name]) for name, weight in kept.items())
    torch.manual_seed(1)
    again = task.load(tmp_path / "model")
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_labels_in_another_order_keep_the_head(tmp_path: Path) -> None:
    encoders.write("roberta", tmp_path / "model", labels=LABELS[::-1])
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    model = task.load(tmp_path / "model")
    assert task.notes["head"] == "the checkpoint's"
    assert model.config.id2label == {0: "no", 1: "yes"}
    torch.testing.assert_close(in_batches(task, model), as_transformers(tmp_path / "model")[:, [1, 0]])


def test_other_labels_of_the_same_number_get_a_new_head(tmp_path: Path) -> None:
    encoders.write("bert", tmp_path / "model", labels=["left", "right"])
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    model = task.load(tmp_path / "model")
    given = load_file(tmp_path / "model" / "model.safetensors")
    assert task.new == ["classifier.bias", "classifier.weight"]
    assert not torch.equal(model.get_parameter("classifier.weight"), given["classifier.weight"])
    assert torch.equal(model.get_parameter("bert.pooler.dense.weight"), given["bert.pooler.dense.weight"])


def test_labels_that_differ_in_spelling_alone_are_refused(tmp_path: Path) -> None:
    encoders.write("bert", tmp_path / "model", labels=["No", "YES"])
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    with pytest.raises(UserError, match="differ from the data's in spelling alone: 'No' and 'no'"):
        task.load(tmp_path / "model")


def test_a_configuration_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    encoders.write("bert", tmp_path / "model", labels=LABELS)
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"label2id": {"no": 1, "yes": 0}}))
    with pytest.raises(UserError, match="id2label calls class 0 'no', label2id says that this is class 1"):
        task.load(tmp_path / "model")


def test_weights_that_are_missing_below_the_head_are_refused(tmp_path: Path) -> None:
    encoders.write("distilbert", tmp_path / "model", labels=LABELS)
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    file = tmp_path / "model" / "model.safetensors"
    lacking = {name: weight for name, weight in load_file(file).items() if "layer.1.attention.q_lin" not in name}
    save_file(lacking, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"needs weights that are not in it .*layer\.1\.attention\.q_lin\.bias"):
        task.load(tmp_path / "model")


def test_an_architecture_without_the_head_is_refused_by_name(tmp_path: Path) -> None:
    encoders.write("bert", tmp_path / "model", labels=LABELS)
    with pytest.raises(
        UserError, match=r"it is a BertForSequenceClassification, model_type 'bert', of which .* no Auto"
    ):
        heads.load(tmp_path / "model", "AutoModelForCTC", LABELS, CPU)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlnet"])
def test_a_new_head_is_trained_whole_beside_adapters(family: str, tmp_path: Path) -> None:
    encoders.write(family, tmp_path / "model", head="AutoModel")
    task = task_over(tmp_path / "model", TEXTS, tmp_path)
    model = task.load(tmp_path / "model")
    new = set(task.new)
    settings = AdaptedFineTuning(steps=1, learning_rate=0.1, method="lora")
    adapters = lora.add_adapters(model, settings, task.whole(model))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    whole = {name.replace(".modules_to_save.default", "") for name in trained if "lora_" not in name}
    assert new <= whole and all(heads.is_of_head(model, name) for name in whole)
    examples = task.examples("fine_tuning", "train")
    batch = examples.batch(np.arange(len(examples)))
    task.loss(model, batch).backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in trained:
                weight += 0.1 * torch.randn_like(weight)
    merged = adapters.merge(lambda one: task.answers(one, batch))
    (tmp_path / "saved").mkdir()
    task.save(merged, tmp_path / "saved")
    torch.testing.assert_close(as_transformers(tmp_path / "saved"), in_batches(task, merged), rtol=1e-4, atol=1e-4)
