"""The pretraining and fine-tuning components: what they start from, what they train, what they make."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from tests.component.steps import Steps
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table


class Trained:
    """A tiny language model on its way: corpus, pretrained, fine-tuned."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.recipe = language_recipe(folder, write_corpus(folder / "data"))
        self.steps = Steps(self.recipe, folder / "steps", *overrides)
        self.corpus = self.steps.corpus()
        self.pretrained = self.steps.pretrained(self.corpus)
        self.pretraining = self.steps.record("pretraining")
        self.tuned = self.steps.tuned(self.corpus, self.pretrained)

    def variant(self, folder: Path, *overrides: str) -> Steps:
        """The same data and store under other settings."""
        other = Steps(self.recipe, folder, *overrides)
        other.store = self.steps.store
        return other

    def weights(self, made: Manifest) -> dict[str, torch.Tensor]:
        return load_file(self.steps.folder_of(made, "model") / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_pretraining_from_random_weights_lowers_the_loss(trained: Trained) -> None:
    rows = manifest.read_entry(trained.steps.store, trained.pretrained.entry("history.jsonl")).splitlines()
    history = [json.loads(row) for row in rows]
    assert [row["step"] for row in history] == list(range(1, 21))
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    assert trained.pretrained.info["best_validation_loss"] == min(r["validation_loss"] for r in history[4::5])
    assert trained.pretraining.metrics["parameters"] == trained.pretrained.info["parameters"]


def test_equal_work_in_another_store_makes_equal_weights(trained: Trained, tmp_path: Path) -> None:
    again = Trained(tmp_path)
    assert again.pretrained.digest == trained.pretrained.digest
    assert again.tuned.digest == trained.tuned.digest
    other_seed = Steps(again.recipe, tmp_path / "seed", "seed=2")
    assert not equal(trained.weights(trained.pretrained), trained.weights(_pretrain(other_seed, trained)))


def _pretrain(steps: Steps, trained: Trained) -> Manifest:
    steps.store = trained.steps.store
    return steps.pretrained(trained.corpus)


def test_the_model_folder_is_what_from_pretrained_reads_and_holds_no_pickle(trained: Trained) -> None:
    folder = trained.steps.folder_of(trained.tuned, "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == trained.pretrained.info["parameters"]
    names = {entry.path for entry in trained.tuned.entries}
    assert {Path(name).suffix for name in names} == {".json", ".jsonl", ".safetensors"}
    assert {"model/tokenizer.json", "model/tokenizer_config.json", "model/config.json"} <= names


def test_a_folder_of_weights_is_loaded_as_it_is_with_no_steps(trained: Trained, tmp_path: Path) -> None:
    vocabulary = trained.corpus.info["vocab_size"]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    foreign = LlamaForCausalLM(config)
    foreign.save_pretrained(tmp_path / "foreign")
    steps = trained.variant(tmp_path / "steps", f"pretraining.init={tmp_path}/foreign", "pretraining.steps=0")
    made = steps.pretrained(trained.corpus)
    expected = load_file(tmp_path / "foreign" / "model.safetensors")
    assert equal(trained.weights(made), expected)
    assert (made.info["trained"], made.info["steps"]) == (False, 0)
    assert steps.record("pretraining").headline == "weights loaded, no steps"


def test_weights_for_another_vocabulary_are_refused(trained: Trained, tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "foreign")
    steps = trained.variant(tmp_path / "steps", f"pretraining.init={tmp_path}/foreign", "pretraining.steps=0")
    code, message = steps.fails("pretraining", ["model"], corpus=trained.corpus)
    assert code == 2
    assert "its vocabulary has 99 tokens" in message and "set preprocessing.tokenizer.from" in message


def test_pretraining_that_is_none_says_so_and_fine_tuning_starts_at_random(trained: Trained, tmp_path: Path) -> None:
    steps = trained.variant(tmp_path / "steps", "pretraining=none", "fine_tuning.method=full")
    nothing = steps.pretrained(trained.corpus)
    assert (nothing.entries, nothing.info["trained"]) == ([], False)
    assert steps.record("pretraining").headline == "none, as the recipe says"
    made = steps.tuned(trained.corpus, nothing)
    assert made.info["trained"]
    assert trained.weights(made).keys() == trained.weights(trained.pretrained).keys()


def test_fine_tuning_that_is_none_hands_the_pretrained_weights_on(trained: Trained, tmp_path: Path) -> None:
    steps = trained.variant(tmp_path / "steps", "fine_tuning=none")
    made = steps.tuned(trained.corpus, trained.pretrained)
    assert made.entries == trained.pretrained.entries
    assert (made.info["stage"], made.info["trained"]) == ("fine_tuning", False)


def test_lora_changes_its_target_modules_only_and_keeps_the_adapter(trained: Trained, tmp_path: Path) -> None:
    steps = trained.variant(tmp_path / "steps", "fine_tuning.lora.target_modules=[q_proj]")
    made = steps.tuned(trained.corpus, trained.pretrained)
    before, after = trained.weights(trained.pretrained), trained.weights(made)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "q_proj" in name}
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(steps.folder_of(trained.pretrained, "model"))
    adapted = PeftModel.from_pretrained(base, steps.folder_of(made, "adapter")).merge_and_unload()
    for name, tensor in adapted.state_dict().items():
        if name in after:
            assert torch.allclose(tensor, after[name], atol=1e-6), name


def test_a_lora_module_that_is_not_there_is_the_users_mistake(trained: Trained, tmp_path: Path) -> None:
    weights = f"pretraining.init={tmp_path}/whatever"
    steps = trained.variant(tmp_path / "steps", weights, "fine_tuning.lora.target_modules=[c_attn]")
    inputs = {"corpus": trained.corpus, "pretrained": trained.pretrained}
    code, message = steps.fails("fine_tuning", ["model"], **inputs)
    assert code == 2
    assert "fine_tuning.lora.target_modules: the model has no module 'c_attn'; it has down_proj" in message


def test_full_fine_tuning_changes_every_weight(trained: Trained, tmp_path: Path) -> None:
    steps = trained.variant(tmp_path / "steps", "fine_tuning.method=full")
    made = steps.tuned(trained.corpus, trained.pretrained)
    before, after = trained.weights(trained.pretrained), trained.weights(made)
    assert not [name for name in before if torch.equal(before[name], after[name])]
    assert not made.under("adapter")


def test_a_loss_that_is_not_a_number_keeps_the_checkpoint_and_makes_nothing(tmp_path: Path) -> None:
    diverging = ("optimizer=sgd", "learning_rate=100", "momentum=0.99", "weight_decay=1", "clip_norm=null")
    overrides = [f"fine_tuning.{setting}" for setting in (*diverging, "patience=null", "checkpoint_seconds=0")]
    steps = Steps(
        table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "steps", *overrides, "model.activation=relu"
    )
    corpus = steps.corpus()
    nothing = steps.pretrained(corpus)
    code, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=nothing)
    assert code == 1
    assert "loss became inf" in message and "is kept; try a lower learning_rate" in message
    assert not [key for key in steps.store.list("memo/fine_tuning/") if "/last/" not in key]
    kept = json.loads(steps.store.get(f"checkpoints/{steps.record('fine_tuning').key}/latest.json"))
    assert all(row["loss"] < float("inf") for row in kept[0]["state"]["history"])
