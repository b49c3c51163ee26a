"""Small corpora of conversations and preferences, as preprocessing writes them, made with transformers alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.task import LanguageModeling
from tests.chat_models import write_chat_model

# As Hermes': calls of tools as JSON between marks.
TOOLS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</call>'
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LENGTH = 160
Messages = list[dict[str, Any]]


class Chats:
    """A folder with a chat model's tokenizer, and corpora for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_folder = write_chat_model(folder / "chat", TOOLS, eos_token="</s>", bos_token="<s>")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.model_folder)
        self.end = self.tokenizer.convert_tokens_to_ids("</s>")
        self.stop = self.tokenizer.convert_tokens_to_ids("<|im_end|>")

    def ids(self, messages: Messages, asks: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer.apply_chat_template(messages, add_generation_prompt=asks, return_dict=False)
        return ids

    def turns(self, messages: Messages) -> list[tuple[list[int], list[int]]]:
        """For each of the assistant's turns what is given before it, and what is learned."""
        said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        given = [self.ids(messages[:place], asks=True) for place in said]
        whole = [self.ids(messages[: place + 1])[:-1] for place in said]  # without the line's end
        assert all(one[: len(before)] == before for before, one in zip(given, whole, strict=True))
        return [(before, one[len(before) :]) for before, one in zip(given, whole, strict=True)]

    def conversations(self, split: str, talks: list[Messages], **line: Any) -> dict[str, Path]:
        """The files of a split with these conversations, in windows of `LENGTH` tokens."""
        marks = []
        for messages in talks:
            marks.append([0] * len(self.ids(messages)))
            for given, learned in self.turns(messages):
                marks[-1][len(given) : len(given) + len(learned)] = [1] * len(learned)
        files = self._packed(split, [self.ids(messages) for messages in talks], learned=marks)
        lines = []
        for number, messages in enumerate(talks):
            said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
            sizes = [[place, len(ids)] for place, (_, ids) in zip(said, self.turns(messages), strict=True)]
            lines.append(json.dumps({"row": number, "messages": messages, "tools": [], "learned": sizes, **line}))
        return files | self._text(f"{split}/00000.pairs.conversations.jsonl", "\n".join(lines) + "\n")

    def preferences(self, split: str, answered: list[tuple[str, str, str]]) -> dict[str, Path]:
        """The files of a split with a prompt, a better and a worse answer each; one of these may be empty."""
        parts = [self.answered(*one) for one in answered]
        sides = [[side for side, ids in enumerate(three) for _ in ids] for three in parts]
        return self._packed(split, [[*prompt, *good, *bad] for prompt, good, bad in parts], sides=sides)

    def answered(self, prompt: str, *answers: str) -> list[list[int]]:
        """The ids of a prompt, and of each answer; of an empty one none."""
        asked = [{"role": "user", "content": prompt}]
        given = self.ids(asked, asks=True)
        wholes = [self.ids([*asked, {"role": "assistant", "content": one}])[:-1] for one in answers]
        parts = [whole[len(given) :] if one else [] for one, whole in zip(answers, wholes, strict=True)]
        return [given, *parts]

    def task(self, files: dict[str, Path], kind: str) -> LanguageModeling:
        return LanguageModeling(self.corpus(kind), files | self.tokenizer_files(), None)

    def corpus(self, kind: str) -> Manifest:
        info = {
            "task": "language_modeling",
            "sequence_length": LENGTH,
            "vocab_size": len(self.tokenizer),
            "end_of_text": self.end,
            "frame": {"kind": kind, "stop": self.stop},
            "splits": {"train": {}, "validation": {}, "test": {"bytes": 1}},
            "held_out": {},
        }
        return Manifest(kind="corpus", info=info)

    def tokenizer_files(self) -> dict[str, Path]:
        return {f"tokenizer/{file.name}": file for file in self.model_folder.glob("tokenizer*.json")}

    def model(self, seed: int = 0, std: float = 0.3) -> Any:
        """A tiny decoder whose answers differ from prompt to prompt."""
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            initializer_range=std,
            pad_token_id=None,
        )
        return LlamaForCausalLM(config).eval()

    def _packed(self, split: str, examples: list[list[int]], **marks: list[list[int]]) -> dict[str, Path]:
        """Examples that lie within a window each, END filling what is left, and what is marked of their tokens."""
        tokens: list[int] = []
        offsets: list[int] = []
        marked: dict[str, list[int]] = {name: [] for name in marks}
        for number, example in enumerate(examples):
            place = len(tokens) % LENGTH
            filled = LENGTH - place if place and place + len(example) > LENGTH else 0
            offsets += [*range(len(tokens), len(tokens) + filled), len(tokens) + filled]
            tokens += [self.end] * filled + example
            for name, one in marks.items():
                marked[name] += [0] * filled + one[number]
        arrays = {"tokens": np.array([*tokens, self.end], np.uint16), "offsets": np.array([*offsets, len(tokens)])}
        arrays |= {name: np.array([*one, 0], np.uint8) for name, one in marked.items()}
        files: dict[str, Path] = {}
        for name, array in arrays.items():
            files[f"{split}/00000.pairs.{name}.npy"] = path = self.folder / f"{split}/00000.pairs.{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array, allow_pickle=False)
        return files

    def _text(self, name: str, text: str) -> dict[str, Path]:
        (self.folder / name).write_text(text)
        return {name: self.folder / name}


def talk(number: int, turns: int = 1) -> Messages:
    """A conversation whose every turn is another text for another number."""
    messages: Messages = [{"role": "system", "content": "Count."}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f"def {number} {turn}"})
        messages.append({"role": "assistant", "content": f"value {number * 7 + turn}"})
    return messages


def call(number: int) -> Messages:
    """A conversation in which the assistant calls a tool and answers with its result."""
    called = {"type": "function", "function": {"name": "scale", "arguments": {"value": number}}}
    return [
        {"role": "user", "content": f"scale {number}"},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": str(2 * number)},
        {"role": "assistant", "content": f"It is {2 * number}."},
    ]


@torch.no_grad()
def nats(model: Any, given: list[int], learned: list[int]) -> float:
    """The loss of what is learned after what is given, by transformers alone."""
    ids = torch.tensor([[*given, *learned]])
    logits = model(ids).logits[0, len(given) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, ids[0, len(given) :], reduction="sum"))
