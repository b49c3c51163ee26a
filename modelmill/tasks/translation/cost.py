"""What training computes, for `modelmill plan`, from the recipe alone."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from modelmill.recipe.pretrained import PretrainedModel
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, attention, held, linear
from modelmill.tasks.translation.recipe import Recipe

# Positions that mBART's table has beside those that are asked for.
OFFSET = 2
# Settings of checkpoints whose encoders look at some of the tokens alone.
_LOCAL = ("attention_window", "block_size", "local_radius")

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    if isinstance(recipe.model, PretrainedModel):
        return _of_checkpoint(recipe, stage, known)
    length = recipe.preprocessing.sequence_length
    vocabulary = known.vocabulary or recipe.preprocessing.tokenizer.vocab_size
    if known.corpus is not None:
        vocabulary = known.corpus["vocab_size"]
    if known.weights is not None:
        width, layers, inner = (known.weights[key] for key in ("d_model", "encoder_layers", "encoder_ffn_dim"))
        vocabulary = known.weights["vocab_size"]
    else:
        width, layers, inner = recipe.model.d_model, recipe.model.layers, recipe.model.ffn_dim
    attended = linear(width, width, length) * 4 + attention(length, length, width) + held(2 * width)
    forward = linear(width, inner, length) + linear(inner, width, length) + held(2 * width)
    positions = held((length + OFFSET) * width)
    # Both halves have norms before the first and after the last block; the embedding is the last matrix, too.
    halves = (positions + held(4 * width)) * 2
    work = held(vocabulary * width) + halves + (attended + forward) * layers + (attended * 2 + forward) * layers
    scores = linear(width, vocabulary, length, bias=False)
    assumed = f"texts of {length} tokens, the most that the recipe takes"
    return Cost(work.parameters, work.flops + scores.flops, terms=length, assumed=assumed)


class _Shape(NamedTuple):
    """The shape of a checkpoint's network, of whose encoder and decoder some sizes differ.

    Attributes:
        width: Width of the hidden states.
        heads: Width of all attention heads.
        layers: Blocks of the encoder and of the decoder.
        inner: Width of the feed-forward layers of both.
        matrices: Matrices of a feed-forward layer.
    """

    width: int
    heads: int
    layers: tuple[int, int]
    inner: tuple[int, int]
    matrices: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "_Shape":
        """Return the shape that a `config.json` tells."""
        width = config["d_model"]
        if "d_kv" in config:  # T5 and its kind
            layers = (config["num_layers"], config.get("num_decoder_layers") or config["num_layers"])
            is_gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
            return cls(width, config["num_heads"] * config["d_kv"], layers, (config["d_ff"],) * 2, 2 + is_gated)
        layers, inner = ((config[f"encoder_{name}"], config[f"decoder_{name}"]) for name in ("layers", "ffn_dim"))
        return cls(width, width, layers, inner, 2)

    def blocks(self, length: int, rank: int) -> Work:
        """Return the work of all blocks.

        Args:
            length: Tokens of a text.
            rank: Rank of the adapters that alone are trained; 0 where all weights are.
        """
        read = _matrix(self.width, self.heads, length, rank) * 3  # queries, keys and values
        attended = read + _matrix(self.heads, self.width, length, rank) + attention(length, length, self.heads)
        forward = [
            _matrix(self.width, inner, length, rank) * (self.matrices - 1) + _matrix(inner, self.width, length, rank)
            for inner in self.inner
        ]
        work = (attended + forward[0]) * self.layers[0] + (attended * 2 + forward[1]) * self.layers[1]
        # The first blocks read embeddings, which are frozen beside adapters and need no gradient.
        spared = 2 * 3 * length * self.width * (self.heads + rank) if rank else 0
        return work + Work(backward=-spared)


def _matrix(inputs: int, outputs: int, places: int, rank: int) -> Work:
    """Return the work of a matrix: trained, or frozen beside an adapter."""
    if not rank:
        return linear(inputs, outputs, places, bias=False)
    # A frozen matrix needs one gradient of two, as one that reads data does.
    frozen = linear(inputs, outputs, places, bias=False, reads_data=True)
    return frozen + linear(inputs, rank, places, bias=False) + linear(rank, outputs, places, bias=False)


def _of_checkpoint(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage that trains a checkpoint; None of a family whose sizes are called otherwise."""
    config, tuned = known.weights, recipe.fine_tuning
    if config is None or not all(name in config for name in ("d_model", "vocab_size")):
        return None
    if any(name in config for name in _LOCAL):
        return None
    rank = tuned.lora.rank if stage == "fine_tuning" and tuned is not None and tuned.adapted else 0
    length, shape, rows = recipe.preprocessing.sequence_length, _Shape.of(config), config["vocab_size"]
    scores = linear(shape.width, rows, length, bias=False, reads_data=rank > 0)
    own = 0 if config.get("tie_word_embeddings", True) else scores.parameters
    parameters = shape.blocks(length, rank=0).parameters + rows * shape.width + own
    assumed = f"texts of {length} tokens, the most that the recipe takes; biases, norms and positions left out"
    if rank and tuned is not None and tuned.named_modules:
        assumed += "; adapters of all matrices"
    examples = known.corpus["splits"]["train"]["examples"] if known.corpus else None
    return Cost(parameters, shape.blocks(length, rank).flops + scores.flops, length, examples, assumed)
