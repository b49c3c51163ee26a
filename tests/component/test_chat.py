"""A chat model's template, from the data to the model that is served: everywhere the same token ids."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from modelmill.components.registration.artifacts import collect
from modelmill.store import manifest
from modelmill.tasks.language_modeling.serve import LanguageModel
from tests.chat_models import TRIMMED, write_chat_model
from tests.component.steps import Steps
from tests.recipes import language_recipe, write_corpus

PROMPT = "  def scale(value):\n    return 2 * value\n"


class Chatted:
    """A language model that was fine-tuned on chats."""

    def __init__(self, folder: Path) -> None:
        model = write_chat_model(folder / "chat", TRIMMED, own_file=True, bos_token="<s>", eos_token="</s>")
        recipe = language_recipe(
            folder,
            write_corpus(folder / "data"),
            preprocessing__sequence_length=160,
            preprocessing__tokenizer={"from": str(model)},
            preprocessing__pairs={"from": "python_docstrings", "framing": "chat"},
        )
        self.steps = Steps(recipe, folder / "steps")
        self.corpus = self.steps.corpus()
        self.pretrained = self.steps.pretrained(self.corpus)
        self.tuned = self.steps.tuned(self.corpus, self.pretrained)
        self.folder = self.steps.folder_of(self.tuned, "model")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)

    def asked(self, prompt: str) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_dict=False,
            date_string="26 Jul 2024",
        )
        return ids


@pytest.fixture(scope="module")
def chatted(tmp_path_factory: pytest.TempPathFactory) -> Chatted:
    return Chatted(tmp_path_factory.mktemp("chatted"))


def test_the_exported_tokenizer_has_the_template(chatted: Chatted) -> None:
    assert chatted.tokenizer.chat_template == TRIMMED
    assert (chatted.folder / "chat_template.jinja").read_text() == TRIMMED


def test_samples_are_generated_from_chats(chatted: Chatted) -> None:
    made = chatted.steps.evaluated(chatted.corpus, chatted.pretrained, chatted.tuned)
    (sample,) = json.loads(manifest.read_entry(chatted.steps.store, made.entry("samples.json")))
    sample = sample["parts"]
    assert sample["prompt"].startswith("system\nToday: 26 Jul 2024user\n\ndef scale_")
    assert sample["prompt"].endswith("assistant\n\n")
    assert sample["expected"].startswith("Multiply the value by")


def test_the_served_model_is_asked_as_the_template_asks(
    chatted: Chatted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Any = SimpleNamespace(
        recipe=SimpleNamespace(task="language_modeling", registration=SimpleNamespace(model="m")),
        store=chatted.steps.store,
        inputs={"fine_tuning.model": chatted.tuned},
        scratch=tmp_path,
    )
    artifacts = {name: str(path) for name, path in collect(step).items()}
    manifest.place(step.store, chatted.tuned.under("model"), tmp_path)
    served = LanguageModel()
    served.load_context(SimpleNamespace(artifacts=artifacts))
    seen: dict[str, Any] = {}

    def generate(ids: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.update(options, ids=ids[0].tolist())
        return ids

    monkeypatch.setattr(served.generator.model, "generate", generate)
    for asked in ({"prompt": [PROMPT]}, {"messages": [[{"role": "user", "content": PROMPT}]]}):
        seen.clear()
        served.predict(None, pd.DataFrame(asked), {"max_new_tokens": 4})
        assert seen["ids"] == chatted.asked(PROMPT)
        ends = seen["generation_config"].eos_token_id
        assert chatted.tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "</s>"]


def test_a_window_that_the_template_fills_is_refused_with_a_length_that_fits(chatted: Chatted, tmp_path: Path) -> None:
    taken = chatted.corpus.info["frame"]["taken"]
    steps = Steps(
        Path(chatted.steps.folder).parent / "tiny-lm.yaml", tmp_path, f"preprocessing.sequence_length={taken}"
    )
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    code, message = steps.fails("preprocessing", ["corpus"], dataset=dataset)
    assert code == 2
    assert message.startswith(f"preprocessing.sequence_length: of {taken} tokens the frame of a pair takes {taken}: ")
    assert message.endswith(f"set it to {4 * taken} or more")
