"""Distillation: what a teacher makes of a corpus is kept, and learned exactly."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.corpus.text import tokenizer
from modelmill.recipe.step_specs import CORPUS, TEACHER
from modelmill.runtime import external_inputs, weights
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling import packed_windows
from modelmill.tasks.language_modeling.objectives import distillation
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.task import LanguageModeling
from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file, write_corpus

TOKENS = 300
DISTIL = {"objective": "distil", "method": "full", "learning_rate": 0.01, "batch_size": 4, "evaluate_every": 10}


def write_model(folder: Path, tokens: int = TOKENS) -> Path:
    """A tiny Llama that is sure of itself, with a tokenizer."""
    tokenizer.train((source_file(n) for n in range(60)), tokens, folder)
    torch.manual_seed(3)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=tokens, tie_word_embeddings=False, **shape))
    model.lm_head.weight.data *= 30
    model.save_pretrained(folder)
    return folder


class Taught:
    """A corpus, and a teacher that has its tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.teacher = write_model(folder / "teacher")
        self.recipe = language_recipe(
            folder,
            write_corpus(folder / "data", files=60),
            preprocessing__sequence_length=160,
            preprocessing__tokenizer={"from": str(self.teacher)},
            pretraining="none",
            fine_tuning=DISTIL | {"steps": 20, "distillation": {"teacher": str(self.teacher), "top_k": 16}},
        )
        self.steps = Steps(self.recipe, folder / "steps")
        self.corpus = self.steps.corpus()

    def step(self, store: Store, scratch: Path) -> Any:
        """What of a running step the objective reads."""
        return SimpleNamespace(
            store=store,
            scratch=scratch,
            inputs={CORPUS: self.corpus},
            digests={TEACHER: weights.digest(self.teacher)},
            document={"code": {"source": "this"}},
            progress=lambda *_: None,
        )

    def task(self, scratch: Path) -> LanguageModeling:
        shape = DecoderModel(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        files = manifest.fetch(self.steps.store, self.corpus.entries, scratch / "corpus")
        return LanguageModeling(self.corpus, files, shape)

    def prepared(self, store: Store, scratch: Path, **settings: Any) -> LanguageModeling:
        """The task with the objective, as fine-tuning opens it, over a store of its own."""
        task = self.task(scratch)
        wanted = LanguageFineTuning.model_validate(
            DISTIL | {"steps": 1, "distillation": {"teacher": str(self.teacher)} | settings}
        )
        task.objective = distillation.prepare(self.step(store, scratch), task, wanted)
        return task


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("taught"))


def alone(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of transformers' own eager attention, a document at a time, at the places that are learned."""
    model.set_attn_implementation("eager")
    begins = torch.nonzero(batch["position_ids"].flatten() == 0).flatten()
    sizes = torch.diff(begins, append=torch.tensor([batch["input_ids"].numel()])).tolist()
    logits = [model(input_ids=ids[None]).logits[0] for ids in batch["input_ids"].flatten().split(sizes)]
    return torch.cat(logits)[(batch["labels"] != -100).flatten()]


@pytest.mark.parametrize("are_few", [True, False])
def test_with_the_whole_vocabulary_the_loss_and_its_gradient_are_those_of_the_divergence(
    taught: Taught, store: Store, tmp_path: Path, are_few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the head is applied to few places or to all."""
    monkeypatch.setattr(packed_windows, "SPARSE", 1.0 if are_few else 0.0)
    monkeypatch.setattr(packed_windows, "ROWS_AT_ONCE", 8)
    task = taught.prepared(store, tmp_path, top_k=100_000, temperature=1.5, weight=0.75)
    batch = task.examples("fine_tuning", "train").batch(np.array([2, 0, 3]))
    assert ("learned" in batch) == are_few
    torch.manual_seed(0)
    student = task.build()
    found = task.loss(student, batch)
    found.backward()
    gradients = {name: weight.grad.clone() for name, weight in student.named_parameters()}

    with torch.no_grad():
        theirs = F.log_softmax(alone(LlamaForCausalLM.from_pretrained(taught.teacher), batch) / 1.5, 1)
    student.zero_grad()
    logits = alone(student, batch)
    apart = F.kl_div(F.log_softmax(logits / 1.5, 1), theirs, reduction="sum", log_target=True)
    labels = batch["labels"][batch["labels"] != -100]
    expected = 0.75 * 1.5**2 * apart + 0.25 * F.cross_entropy(logits, labels, reduction="sum")
    expected.backward()
    assert torch.allclose(found, expected, rtol=1e-4) and task.terms(batch) == len(labels)
    largest = max(weight.grad.abs().max() for weight in student.parameters())
    for name, weight in student.named_parameters():
        assert torch.allclose(gradients[name], weight.grad, rtol=1e-3, atol=1e-5 * float(largest)), name


def kept(store: Store) -> dict[str, float]:
    return {key: stat.modified for key, stat in store.stats("teachers/")}


def test_what_a_teacher_makes_is_made_once_and_again_for_what_decides_it(
    taught: Taught, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught.prepared(store, tmp_path / "1", top_k=4)
    before, right = kept(store), LanguageModeling.load
    assert len(before) == len([e for e in taught.corpus.entries if "pairs.tokens" in e.path and "test/" not in e.path])
    loaded: list[str] = []
    monkeypatch.setattr(LanguageModeling, "load", lambda task, folder: loaded.append(task.key) or right(task, folder))
    taught.prepared(store, tmp_path / "2", top_k=4, weight=0.5)
    assert kept(store) == before and not loaded, "another weight makes nothing"
    store.delete(min(before))
    taught.prepared(store, tmp_path / "3", top_k=4)
    assert kept(store).keys() == before.keys() and loaded == ["fine_tuning.distillation.teacher"]
    assert sum(kept(store)[key] != when for key, when in before.items()) == 1, "one shard alone is made again"
    for number, changed in enumerate(({"top_k": 5}, {"top_k": 4, "temperature": 2.0})):
        taught.prepared(store, tmp_path / f"changed-{number}", **changed)
        assert len(kept(store)) == (number + 2) * len(before)


def test_a_student_comes_nearer_to_its_teacher_and_says_whose_it_is(taught: Taught) -> None:
    model = taught.steps.tuned(taught.corpus, taught.steps.pretrained(taught.corpus))
    history = history_of(taught.steps.store, model)
    losses = [row["validation_loss"] for row in history if "validation_loss" in row]
    assert losses[-1] < 0.8 * history[0]["loss"]
    assert model.info["teacher"]["digest"] == weights.digest(taught.teacher)


def history_of(store: Store, model: Manifest) -> list[dict[str, float]]:
    return [json.loads(row) for row in manifest.read_entry(store, model.entry("history.jsonl")).splitlines()]


def test_a_teacher_with_another_tokenizer_is_refused_before_any_work(taught: Taught, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", 290)
    recipe = recipes.load(taught.recipe, [f"fine_tuning.distillation.teacher={other}"])
    with pytest.raises(UserError, match=r"fine_tuning\.distillation\.teacher: .*other: its tokenizer is another"):
        external_inputs.digests("fine_tuning", recipe, open_store(f"file://{tmp_path / 'store'}"))


def test_a_teacher_that_is_not_there_is_refused_by_its_key(taught: Taught, tmp_path: Path) -> None:
    recipe = recipes.load(taught.recipe, ["fine_tuning.distillation.teacher=nowhere"])
    with pytest.raises(UserError, match=r"fine_tuning\.distillation\.teacher: .*nowhere: no such folder"):
        external_inputs.digests("fine_tuning", recipe, open_store(f"file://{tmp_path / 'store'}"))


def test_a_tokenizer_that_is_trained_is_no_teachers(taught: Taught) -> None:
    with pytest.raises(UserError, match=r"distil needs the teacher's tokenizer: set preprocessing\.tokenizer\.from"):
        recipes.load(taught.recipe, ["preprocessing.tokenizer.from=null"])
