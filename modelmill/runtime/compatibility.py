"""Whether weights, tokenizer and recipe belong together, as far as their configuration tells."""

from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.runtime.weights import CHAT_TEMPLATE, TOKENIZER, matrices, read_config, read_json


def require_length(folder: Path, length: int) -> None:
    """
    Raises:
        UserError: the model in a folder was made for shorter sequences than the recipe's.
    """
    longest = read_config(folder).get("max_position_embeddings")
    if isinstance(longest, int) and longest < length:
        raise UserError(
            f"pretraining.init: {folder}: it was made for {longest} positions; "
            f"set preprocessing.sequence_length to {longest} or less, it is {length}"
        )


def require_vocabulary(folder: Path, tokenizer: Path) -> None:
    """
    Args:
        tokenizer: the `tokenizer.json` that the recipe's data is encoded with.
    Raises:
        UserError: its ids are not those that the weights in the folder have learned.
    """
    rows, ids = read_config(folder).get("vocab_size"), _ids(tokenizer)
    advice = "set preprocessing.tokenizer.from to the same folder"
    if not (folder / TOKENIZER[0]).is_file():
        if rows != len(ids):
            sizes = f"its vocabulary has {rows} tokens, the corpus's tokenizer {len(ids)}"
            raise UserError(f"pretraining.init: {folder}: {sizes}; {advice}")
        return
    known = _ids(folder / TOKENIZER[0])
    if strange := sorted(token for token in known.keys() | ids if known.get(token) != ids.get(token)):
        numbers = f"{strange[0]!r} has id {known.get(strange[0])} there and {ids.get(strange[0])} in the corpus's"
        raise UserError(f"pretraining.init: {folder}: its tokenizer is another: {numbers}; {advice}")
    # There may be more rows than tokens: some models have a round number of them.
    if isinstance(rows, int) and rows < len(ids):
        raise UserError(
            f"pretraining.init: {folder}: config.json says {rows} tokens, tokenizer.json has {len(ids)}; "
            "take the tokenizer that the weights were saved with"
        )


def require_modules(folder: Path, modules: list[str]) -> None:
    """
    Raises:
        UserError: the model in a folder has none of a name that adapters are to be added to.
    """
    known = {name.split(".")[-2] for name in matrices(folder) if name.endswith(".weight") and "." in name[:-7]}
    if unknown := sorted(set(modules) - known):
        raise UserError(
            f"fine_tuning.lora.target_modules: the model in {folder} has no module {unknown[0]!r}; "
            f"it has {', '.join(sorted(known))}"
        )


def require_chat_template(folder: Path) -> None:
    """
    Raises:
        UserError: the tokenizer in a model folder has none.
    """
    config = folder / TOKENIZER[1]
    inside = config.is_file() and read_json("preprocessing.tokenizer.from", config).get("chat_template")
    if not inside and not (folder / CHAT_TEMPLATE).is_file():
        raise UserError(
            f"preprocessing.pairs.framing: chat: {config} has no chat_template, and there is no {CHAT_TEMPLATE} beside "
            "it; name a chat model's folder in preprocessing.tokenizer.from, or set framing: separator"
        )


def _ids(file: Path) -> dict[str, int]:
    """Every token of a `tokenizer.json`, with its number."""
    content = read_json("preprocessing.tokenizer.from", file)
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # tokens in order, each with its score
            vocabulary = {token: number for number, (token, _) in enumerate(vocabulary)}
        return {**vocabulary, **{token["content"]: token["id"] for token in content.get("added_tokens") or []}}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"preprocessing.tokenizer.from: {file} is not a tokenizer: {error!r}") from error
