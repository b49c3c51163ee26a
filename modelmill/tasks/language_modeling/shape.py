"""The shape of a decoder: its parameters and FLOPs, also with adapters."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# Decoders of `transformers` that have Llama's matrices: as many, of the same shapes, under the same names.
LLAMA_SHAPED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "olmo2"})


class Adapters(NamedTuple):
    """Adapters of LoRA: two matrices of this rank beside each of the modules with these names; all else is frozen."""

    rank: int
    modules: Collection[str]


@dataclass(frozen=True)
class Decoder:
    """A Llama-shaped decoder; `attention` and `keys` are the widths of all query heads and of all key heads."""

    blocks: int
    hidden: int
    attention: int
    keys: int
    intermediate: int
    vocabulary: int
    tied: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], vocabulary: int) -> "Decoder":
        """Return the shape of a model by its configuration.

        Args:
            config: Its configuration, with the names of `transformers.LlamaConfig`.
            vocabulary: Size of the vocabulary.
        """
        heads = config["num_attention_heads"]
        head = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            blocks=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            attention=heads * head,
            keys=(config.get("num_key_value_heads") or heads) * head,
            intermediate=config["intermediate_size"],
            vocabulary=vocabulary,
            tied=config.get("tie_word_embeddings", False),
        )

    @property
    def parameters(self) -> int:
        """Return the number of parameters."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = (2 * self.blocks + 1) * self.hidden
        return embeddings + norms + self.blocks * sum(a * b for a, b in self._matrices().values())

    def flops(self, length: int, adapters: Adapters | None = None) -> float:
        """Return the FLOPs of one window, forward and backward.

        Args:
            length: Tokens of the window.
            adapters: What is trained; None for all parameters.
        """
        backward = 1 if adapters else 2
        products = sum(a * b for a, b in self._matrices().values())
        multiplied = (1 + backward) * (self.blocks * products + self.hidden * self.vocabulary)
        if adapters:
            multiplied += self._adapted(adapters)
        attended = 3 * self.blocks * 2 * length * self.attention
        return 2.0 * length * (multiplied + attended)

    def _matrices(self) -> dict[str, tuple[int, int]]:
        """Return inputs and outputs of a block's linear modules."""
        return {
            "q_proj": (self.hidden, self.attention),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def _adapted(self, adapters: Adapters) -> int:
        """Return the multiplications a token that adapters add, less gradients that would reach frozen embeddings."""
        matrices = self._matrices()
        added = sum(adapters.rank * (a + b) for name, (a, b) in matrices.items() if name in adapters.modules)
        reads_embeddings = {name: matrices[name] for name in ("q_proj", "k_proj", "v_proj")}
        spared = sum(a * b for a, b in reads_embeddings.values())
        spared += sum(adapters.rank * a for name, (a, _) in reads_embeddings.items() if name in adapters.modules)
        return 3 * self.blocks * added - spared
