"""Checks that weights, tokenizer and recipe belong together, as far as their configuration tells."""

from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError
from modelmill.recipe.sections import INIT
from modelmill.runtime.weights import CHAT_TEMPLATE, TOKENIZER, matrices, own_tokenizer, read_config, read_json

# Most rows that an embedding has beyond its tokens: some models have a round number of them.
_PADDING = 1024

# Names that `transformers` gives the tensors of a block's experts, each of them one tensor for all.
EXPERTS = {"gate_up_proj", "down_proj"}

# Architectures that count positions from the one after the padding token's number: the first ones are never used.
_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)

# Families whose positions are relative, or computed for any length; what some of them call a limit is none.
UNLIMITED = ("t5", "mt5", "umt5", "longt5", "switch_transformers", "m2m_100", "nllb-moe")
# What configurations call the longest sequence that a model has positions for.
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")


def require_length(folder: Path, length: int, key: str = INIT) -> None:
    """Check that a model takes sequences of the recipe's length.

    Args:
        folder: The model's folder.
        length: Tokens of a sequence.
        key: The recipe's key that names the model, for the message.

    Raises:
        UserError: The model was made for shorter sequences.
    """
    longest = positions(read_config(folder))
    if longest is not None and longest < length:
        raise UserError(
            f"{key}: {folder}: it was made for {longest} positions; "
            f"set preprocessing.sequence_length to {longest} or less, it is {length}"
        )


def positions(config: dict[str, Any]) -> int | None:
    """Return the tokens of the longest sequence that a model has positions for; None where it says none.

    Args:
        config: The content of `config.json`.
    """
    config = _of_text(config)
    longest = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    if longest is None or config.get("model_type") not in _AFTER_PADDING:
        return longest
    padding = config.get("pad_token_id", 1)
    return longest - 1 - (padding if isinstance(padding, int) else 1)


def require_vocabulary(folder: Path, tokenizer: Path, key: str = INIT) -> None:
    """Check that a model has learned the ids of a tokenizer.

    Args:
        folder: The model's folder.
        tokenizer: The `tokenizer.json` that the recipe's data is encoded with.
        key: The recipe's key that names the model, for the message.

    Raises:
        UserError: The weights have learned other ids.
    """
    rows, ids = _of_text(read_config(folder)).get("vocab_size"), _ids(tokenizer)
    advice = (
        "set preprocessing.tokenizer.from to the same folder" if key == INIT else "take a model with the same tokenizer"
    )
    own = own_tokenizer(folder)
    if own is None:
        if not isinstance(rows, int) or not len(ids) <= rows < len(ids) + _PADDING:
            sizes = f"its vocabulary has {rows} tokens, the corpus's tokenizer {len(ids)}"
            raise UserError(f"{key}: {folder}: {sizes}; {advice}")
        return
    known = _ids(own)
    if strange := sorted(token for token in known.keys() | ids if known.get(token) != ids.get(token)):
        numbers = f"{strange[0]!r} has id {known.get(strange[0])} there and {ids.get(strange[0])} in the corpus's"
        raise UserError(f"{key}: {folder}: its tokenizer is another: {numbers}; {advice}")
    if isinstance(rows, int) and rows < len(ids):
        raise UserError(
            f"{key}: {folder}: config.json says {rows} tokens, tokenizer.json has {len(ids)}; "
            "take the tokenizer that the weights were saved with"
        )


def require_modules(folder: Path, modules: list[str]) -> None:
    """Check that a model has the modules that adapters are to be added to.

    Args:
        folder: The model's folder.
        modules: Names of modules.

    Raises:
        UserError: The model has no module of one of the names.
    """
    if not modules:
        return
    known = {name.split(".")[-2] for name in matrices(folder) if name.endswith(".weight") and "." in name[:-7]}
    if any(".experts." in name for name in matrices(folder)):
        known |= EXPERTS  # whatever they are called in the file
    if unknown := sorted(set(modules) - known):
        raise UserError(
            f"fine_tuning.lora.target_modules: the model in {folder} has no module {unknown[0]!r}; "
            f"it has {', '.join(sorted(known))}"
        )


def require_chat_template(folder: Path) -> None:
    """Check that the tokenizer in a model folder has a chat template.

    Raises:
        UserError: It has none.
    """
    config = folder / TOKENIZER[1]
    inside = config.is_file() and read_json("preprocessing.tokenizer.from", config).get("chat_template")
    if not inside and not (folder / CHAT_TEMPLATE).is_file():
        raise UserError(
            f"preprocessing.pairs.framing: chat: {config} has no chat_template, and there is no {CHAT_TEMPLATE} beside "
            "it; name a chat model's folder in preprocessing.tokenizer.from, or set framing: separator"
        )


def _of_text(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model, which is a part of it where the model also sees or hears."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def _ids(file: Path) -> dict[str, int]:
    """Return the number of every token of a `tokenizer.json`."""
    content = read_json("preprocessing.tokenizer.from", file)
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # tokens in order, each with its score
            vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
        return {**vocabulary, **{token["content"]: token["id"] for token in content.get("added_tokens") or []}}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"preprocessing.tokenizer.from: {file} is not a tokenizer: {error!r}") from error
