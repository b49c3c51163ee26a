"""A tiny model of chats that is registered without being trained, and what transformers says in its place."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from tests import cli
from tests.chat_models import CHATML, write_chat_model
from tests.component.registrations import Case, make_case

LENGTH = 160


class ChatModel:
    """A decoder with random weights and a chat template, registered in a store of its own.

    Attributes:
        folder: The model's folder.
        case: Its registration.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = write_chat_model(folder / "chat", CHATML, own_file=True, bos_token="<s>", eos_token="</s>")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            initializer_range=0.4,
        )
        self.model = LlamaForCausalLM(config).eval()
        self.model.save_pretrained(self.folder)
        (folder / "store").mkdir()
        shutil.copyfile(cli.empty_registry(), folder / "store" / "mlflow.db")
        self.case = self._registered(folder)

    def _registered(self, folder: Path) -> Case:
        case = make_case(folder, self.folder, "language_modeling")
        stop, end = self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "</s>"])
        frame = {"chat": True, "date": "2024-07-26", "stop": stop, "taken": 9}
        corpus = Manifest(kind="corpus", info={"sequence_length": LENGTH, "end_of_text": end, "frame": frame})
        case.change("model", {"preprocessing.corpus": manifest.save(case.store, corpus)})
        case.run()
        return case

    def says(self, *messages: dict[str, str], most: int) -> str:
        """What transformers generates greedily after a conversation."""
        given = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ends = self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "</s>"])
        config = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
        made = self.model.generate(**given, generation_config=config)[0, given["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(made, skip_special_tokens=True))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
