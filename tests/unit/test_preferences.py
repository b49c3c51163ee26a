"""Preferences in training: rows in which answers share a prompt, and losses that are those of TRL and of one batch."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modelmill.core.errors import CorruptError, UserError
from modelmill.models.cross_entropy import IGNORED
from modelmill.models.token_losses import LinearTokenLosses
from modelmill.recipe.step_specs import PRETRAINED
from modelmill.runtime.run_records import StepRecord
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest, open_store
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling import prompt_sharing, ways
from modelmill.tasks.language_modeling.objectives import answer_scores
from modelmill.tasks.language_modeling.objectives import preferences as preparing
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.tasks.language_modeling.objectives.preferences import Preferences
from modelmill.tasks.language_modeling.objectives.reference import Reference
from modelmill.tasks.language_modeling.objectives.settings import LanguageFineTuning, require_source
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop.checkpoint import Checkpoints
from modelmill.training.loop.engine import train
from tests import preferences
from tests.preferences import LENGTH, Example

KINDS = {"dpo": "preferences", "orpo": "preferences", "kto": "labelled"}
CPU = torch.device("cpu")


def settings_of(objective: str, **others: Any) -> LanguageFineTuning:
    chosen = {"steps": 4, "learning_rate": 0.03, "batch_size": 2, "evaluate_every": 2}
    exact = {"compile": "off", "precision": "fp32"}
    return LanguageFineTuning.model_validate({**chosen, **exact, "objective": objective, **others})


class Prepared:
    """A task with its objective, and the reference, which is another model than the one that is trained."""

    def __init__(self, folder: Path, settings: LanguageFineTuning, count: int = 9, shares: bool = True) -> None:
        kind = KINDS[settings.objective]
        drawn = preferences.drawn(count)
        self.examples = preferences.labelled(drawn) if kind == "labelled" else drawn
        self.files = preferences.write(folder, {"train": self.examples, "validation": self.examples[:4]})
        self.task = preferences.task_over(self.files, kind)
        is_orpo = settings.objective == "orpo"

        def rows(split: str) -> AnswerRows:
            return AnswerRows(self.files, split, kind, LENGTH, shares=shares, scores_prompts=is_orpo)  # type: ignore[arg-type]

        reference = preferences.stirred(self.task, 7).eval()
        scores = {split: answer_scores.of_split(self.task, reference, rows(split)) for split in ("train", "validation")}
        self.task.objective = Preferences(settings, rows, Reference(scores, {}) if settings.needs_reference else None)
        self.settings = settings
        self.history: list[dict[str, float]] = []
        self.model = preferences.stirred(self.task, 1)

    def trained(self, store: Path, name: str, stop_after: int | None = None, **others: Any) -> dict[str, torch.Tensor]:
        """The weights after training; `stop_after` ends the process of training, in the test's eyes."""
        seed_everything(0)
        model = preferences.stirred(self.task, 1)

        def progress(done: float, *_: object) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        checkpoints = Checkpoints(open_store(f"file://{store}/store"), name, store)
        both = (self.task.examples("fine_tuning", split) for split in ("train", "validation"))
        result = train(model, self.task, *both, self.settings.model_copy(update=others), 0, checkpoints, progress)
        self.history += result.state.history
        return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def alone(model: Any, prompt: list[int], answer: list[int]) -> float:
    """The log-probability of an answer by transformers' own call over one sequence."""
    tokens = torch.tensor([prompt + answer])
    logs = model(input_ids=tokens).logits[0].log_softmax(-1)
    places = torch.arange(len(prompt) - 1, tokens.shape[1] - 1)
    return float(logs[places, tokens[0, 1:][places]].sum())


@pytest.mark.parametrize("shares", [True, False])
def test_answers_are_scored_as_each_is_alone_and_shared_prompts_take_fewer_tokens(tmp_path: Path, shares: bool) -> None:
    examples = preferences.drawn(9)
    task = preferences.task_over(preferences.write(tmp_path, {"test": examples}), "preferences")
    rows = AnswerRows(task.files, "test", "preferences", LENGTH, shares=shares)
    model = preferences.stirred(task, 1).eval()
    with torch.no_grad():
        expected = [
            [alone(model, prompt, one) for one in answers] for prompt, *answers in examples[::2] + examples[1::2]
        ]
    found = answer_scores.of_split(task, model, rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    fed = sum(int((rows.batch(np.array([n]))["position_ids"] > 0).sum()) for n in range(len(rows)))
    sizes = [(len(p) - 1, len(a) + len(b) - 2) for p, a, b in examples]
    assert fed == sum((1 if shares else 2) * p + answers for p, answers in sizes)


def test_a_pair_that_needs_more_than_a_sequence_makes_rows_longer(tmp_path: Path) -> None:
    long: Example = ([1] * 20, [2] * 28, [3] * 28)
    task = preferences.task_over(
        preferences.write(tmp_path, {"test": [long, ([4], [5], [6])]}, shards=1), "preferences"
    )
    rows = AnswerRows(task.files, "test", "preferences", LENGTH, shares=True)
    assert rows.length == 128 and len(rows) == 1 and rows.batch(np.array([0]))["position_ids"].max() < LENGTH


def test_sides_that_are_out_of_order_are_no_corpus(tmp_path: Path) -> None:
    files = preferences.write(tmp_path, {"test": preferences.drawn(3)}, shards=1)
    sides = np.load(files["test/00000.pairs.sides.npy"])
    sides[np.flatnonzero(sides == 2)[0] + 1] = 1
    np.save(files["test/00000.pairs.sides.npy"], sides)
    with pytest.raises(CorruptError, match=r"sides\.npy: token \d+ is of a prompt or an answer that has ended"):
        AnswerRows(files, "test", "preferences", LENGTH, shares=True)


def test_tokens_that_are_not_learned_count_nowhere(tmp_path: Path) -> None:
    files = preferences.write(tmp_path, {"test": [([1, 2], [3, 4, 5], [6, 7])]}, shards=1)
    learned = np.load(files["test/00000.pairs.sides.npy"]) > 0
    learned[np.flatnonzero(np.load(files["test/00000.pairs.tokens.npy"]) == 4)] = False
    files["test/00000.pairs.learned.npy"] = tmp_path / "learned.npy"
    np.save(tmp_path / "learned.npy", learned.astype(np.uint8))
    batch = AnswerRows(files, "test", "preferences", LENGTH, shares=True).batch(np.array([0]))
    assert batch["targets"][batch["targets"] >= 0].tolist() == [3, 5, 6, 7]
    assert batch["lengths"].tolist() == [[2, 2]]


@pytest.mark.parametrize("trains_head", [True, False])
def test_losses_of_tokens_have_the_gradients_of_torch_whatever_weight_each_gets(trains_head: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 8, requires_grad=True), torch.randn(50, 8, requires_grad=trains_head)
    labels, weights = torch.randint(0, 50, (300,)), torch.randn(300)
    labels[::7] = IGNORED
    mine = LinearTokenLosses()(hidden, weight, labels)
    theirs = F.cross_entropy(hidden @ weight.t(), labels, reduction="none")
    torch.testing.assert_close(mine, theirs)
    wanted = (hidden, weight) if trains_head else (hidden,)
    for a, b in zip(*(torch.autograd.grad((one * weights).sum(), wanted) for one in (mine, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_sharing_is_proved_of_each_model_and_not_believed(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    task = preferences.task_over({}, "preferences")
    assert prompt_sharing.is_right(task.build(), ways.PACKED, 64, LENGTH, CPU)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    windowed = MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=12))
    assert not prompt_sharing.is_right(windowed, ways.PACKED, 64, LENGTH, CPU), "a window counts places"
    assert not prompt_sharing.is_right(task.build(), ways.PACKED._replace(feeding="padded"), 64, LENGTH, CPU)


@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto"])
def test_a_batch_in_parts_trains_as_the_whole_does(tmp_path: Path, objective: str) -> None:
    prepared = Prepared(tmp_path, settings_of(objective, batch_size="all", optimizer="sgd", learning_rate=0.1))
    whole = prepared.trained(tmp_path, "whole")
    parts = prepared.trained(tmp_path, "parts", micro_batch_size=1)
    measured = [row["validation_loss"] for row in prepared.history if "validation_loss" in row]
    assert len(measured) == 4 and measured[:2] == pytest.approx(measured[2:], rel=1e-4)
    start = dict(prepared.model.named_parameters())
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-4, atol=1e-5)
        assert not torch.equal(start[name], weight)


@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto"])
def test_a_training_cut_in_two_ends_with_the_same_bits(
    tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelmill.training.loop.journal.LOOK_SECONDS", 0)
    prepared = Prepared(tmp_path, settings_of(objective, checkpoint_seconds=0))
    whole = prepared.trained(tmp_path, "whole")
    with pytest.raises(KeyboardInterrupt):
        prepared.trained(tmp_path, "cut", stop_after=3)
    cut = prepared.trained(tmp_path, "cut")
    assert all(torch.equal(cut[name], weight) for name, weight in whole.items())


def test_dpo_raises_the_better_answers_above_the_worse_ones(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path, settings_of("dpo", steps=30, learning_rate=0.01, preference={"beta": 0.5}))
    trained = prepared.trained(tmp_path, "longer")
    rows = prepared.task.examples("fine_tuning", "train")
    before = answer_scores.of_split(prepared.task, prepared.model.eval(), rows)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, weight in prepared.model.named_parameters():
            weight.copy_(trained[name])
    after = answer_scores.of_split(prepared.task, prepared.model, rows)  # type: ignore[arg-type]
    assert ((after - before)[:, 0] > (after - before)[:, 1]).mean() > 0.9


class Counted:
    """A model that counts its calls."""

    def __init__(self, task: Any) -> None:
        self.model = preferences.stirred(task, 1)
        self.calls = 0
        self.model.get_decoder().register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1


def test_scores_under_the_reference_are_computed_once_whatever_is_learned_of_them(tmp_path: Path) -> None:
    splits = {"train": preferences.drawn(9), "validation": preferences.drawn(3, seed=5)}
    files = preferences.write(tmp_path / "corpus", splits)
    task = preferences.task_over(files, "preferences")
    store = open_store(f"file://{tmp_path}/store")
    task.corpus.entries.extend(manifest.add_file(store, file, name) for name, file in files.items())
    start = Manifest(kind="model", entries=[manifest.add_bytes(store, b"weights", "model/model.safetensors")])
    other = Manifest(kind="model", entries=[manifest.add_bytes(store, b"others", "model/model.safetensors")])

    def scores(start: Manifest, **others: Any) -> tuple[dict[str, np.ndarray], dict[str, Any], int]:
        counted, settings = Counted(task), settings_of("dpo", **others)
        record = StepRecord(name="fine_tuning", status="running")
        document: Any = {"inputs": {}, "code": {"source": "0"}}
        recipe: Any = SimpleNamespace(seed=0)
        step = Step("fine_tuning", recipe, "", {PRETRAINED: start}, document, store, "run", tmp_path, record)
        objective = preparing.prepare(step, task, counted.model, settings)
        known = {split: objective.examples(None, split).reference for split in splits}
        return known, objective.notes, counted.calls  # type: ignore[return-value]

    first, notes, calls = scores(start)
    again, same, none = scores(start, learning_rate=0.5, preference={"beta": 0.7, "loss": "ipo"}, method="lora")
    assert calls and not none and notes == same and list(notes["reference_scores"]) == ["train", "validation"]
    for split, array in first.items():
        np.testing.assert_array_equal(array, again[split])
    for key in store.list("reference_scores/"):
        named = [entry["sha256"] for entry in json.loads(store.get(key))["entries"]]
        assert named == list(notes["reference_scores"].values())
    assert scores(other)[2], "another model has other scores"
    assert not scores(start, preference={"reference_free": True})[2]


def test_an_objective_needs_a_corpus_of_its_kind() -> None:
    task = preferences.task_over({}, "labelled")
    with pytest.raises(UserError, match="dpo needs a corpus of preferences, and this is of labelled"):
        preparing.prepare(None, task, None, settings_of("dpo"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objective", "source", "said"),
    [
        ("dpo", "columns", "dpo needs preprocessing.pairs.from: preferences, it is columns"),
        ("kto", "preferences", "kto needs preprocessing.pairs.from: labelled, it is preferences"),
        ("sft", "labelled", "labelled has no loss for fine_tuning.objective: sft; set objective to kto"),
        ("sft", "preferences", "preferences has no loss for fine_tuning.objective: sft; set objective to dpo or orpo"),
    ],
)
def test_an_objective_is_given_the_pairs_that_it_learns(objective: str, source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        require_source(settings_of(objective), source)
    fits = {"sft": "columns"} | KINDS
    require_source(settings_of(objective), fits[objective])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"preference": {"beta": 0.3}}, "preference: is for objective dpo, orpo or kto, and this is sft"),
        ({"distillation": {"top_k": 8}}, "distillation: is for objective distil, and this is sft"),
        ({"objective": "distil"}, "distil needs distillation.teacher"),
        ({"objective": "dpo", "label_smoothing": 0.1}, "dpo has preference.label_smoothing; set it to 0"),
        (
            {"objective": "dpo", "preference": {"loss": "ipo", "label_smoothing": 0.1}},
            "label_smoothing is for loss: sigm",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings_of(**{"objective": "sft"} | keys)


def test_a_resolved_recipe_may_name_every_key() -> None:
    settings = settings_of("sft")
    assert LanguageFineTuning.model_validate(settings.model_dump()) == settings
