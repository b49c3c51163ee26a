"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.recipe.pretrained import PretrainedModel
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import attention, held, linear
from modelmill.tasks.translation.recipe import Recipe

# Positions that mBART's table has beside those that are asked for.
OFFSET = 2

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    if isinstance(recipe.model, PretrainedModel):
        return _of_checkpoint(recipe, known)
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


def _of_checkpoint(recipe: Recipe, known: RunFacts) -> Cost | None:
    """Return the cost of a stage that trains a checkpoint; None of a family whose sizes are called otherwise."""
    config = known.weights
    if config is None or not all(name in config for name in ("d_model", "vocab_size")):
        return None
    length, width, rows = recipe.preprocessing.sequence_length, config["d_model"], config["vocab_size"]
    if "d_kv" in config:  # T5 and its kind
        layers = (config["num_layers"], config.get("num_decoder_layers") or config["num_layers"])
        inner, heads = (config["d_ff"], config["d_ff"]), config["num_heads"] * config["d_kv"]
        matrices = 3 if str(config.get("feed_forward_proj", "relu")).startswith("gated") else 2
    else:
        layers, inner = (
            (config["encoder_layers"], config["decoder_layers"]),
            (config["encoder_ffn_dim"], config["decoder_ffn_dim"]),
        )
        heads, matrices = width, 2
    attended = linear(width, heads, length, bias=False) * 3 + linear(heads, width, length, bias=False)
    attended += attention(length, length, heads)
    blocks = [linear(width, one, length, bias=False) * matrices for one in inner]
    work = (attended + blocks[0]) * layers[0] + (attended * 2 + blocks[1]) * layers[1] + held(rows * width)
    scores = linear(width, rows, length, bias=False)
    own = 0 if config.get("tie_word_embeddings", True) else scores.parameters
    assumed = f"texts of {length} tokens, the most that the recipe takes; biases, norms and positions left out"
    examples = known.corpus["splits"]["train"]["examples"] if known.corpus else None
    return Cost(work.parameters + own, work.flops + scores.flops, length, examples, assumed)
