"""A base model that was imported, made ready to answer as it is: prompts, and conversations where it has a template."""

import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modelmill.core.errors import UserError
from modelmill.pipelines.models.package_check import Column
from modelmill.pipelines.models.refusals import refusing
from modelmill.runtime import weights
from modelmill.runtime.compatibility import POSITIONS
from modelmill.runtime.tracking import Version
from modelmill.runtime.weights import CHAT_TEMPLATE
from modelmill.store import Store
from modelmill.tasks.serving import parameters

# Tokens that prompt and answer share where the configuration names no limit.
LENGTH = 2048


def prepare(store: Store, version: Version, scratch: Path) -> tuple[list[Column], list[str], Callable[[], Any]]:
    """Return the columns and the parameters of a base model, and a function that loads it.

    Args:
        store: The store that it was imported into.
        version: The version.
        scratch: A folder for what is made of its files.

    Raises:
        UserError: It is no causal language model, or has no tokenizer.
        CorruptError: The store has other bytes than were imported.
    """
    source = weights.locate(str(version), f"models:/{version.name}/{version.version}", store)
    _require_causal(version, source)
    folder = _with_tokenizer(source, scratch / "model")
    is_chat = _has_template(folder)
    prompting = scratch / "prompting.json"
    prompting.write_text(json.dumps(_prompting(version, folder, is_chat)), "utf-8")
    columns = [Column("prompt", "string", is_required=not is_chat)]
    if is_chat:
        columns = [
            Column("messages", "array", is_required=False),
            Column("tools", "array", is_required=False),
            *columns,
        ]
    taken = [one.name for one in (parameters.CHAT if is_chat else parameters.COMPLETION)]
    return columns, taken, partial(_load, version, {"model": str(folder), "prompting": str(prompting)})


class _Model:
    """A served model, called as MLflow calls one that it has loaded."""

    def __init__(self, served: Any) -> None:
        self._served = served

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Any:
        return self._served.predict(None, frame, params)

    def predict_stream(self, request: dict[str, Any], params: dict[str, Any] | None = None) -> Any:
        return self._served.predict_stream(None, request, params)


def _load(version: Version, artifacts: dict[str, str]) -> Any:
    from modelmill.tasks.language_modeling.serve import LanguageModel

    served = LanguageModel()
    with refusing(f"{version}: it cannot be loaded"):
        served.load_context(SimpleNamespace(artifacts=artifacts))
    return _Model(served)


def _require_causal(version: Version, folder: Path) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = weights.read_config(folder)
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.get("model_type", ""))
    named = (config.get("architectures") or [known])[0]
    if known is None or named != known:
        raise UserError(
            f"{version}: an imported {named or config.get('model_type')}, which answers no prompts; train from it with "
            f"pretraining.init: models:/{version.name}/{version.version}, and ask what was trained"
        )


def _with_tokenizer(source: Path, folder: Path) -> Path:
    """Return a folder with links to a model's files, and with its tokenizer as a run would take it."""
    from modelmill.corpus.text import given_tokenizer

    given_tokenizer.copy(source, folder)
    for file in source.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    return folder


def _has_template(folder: Path) -> bool:
    config = weights.read_json("predict", folder / weights.TOKENIZER[1])
    return bool(config.get("chat_template")) or (folder / CHAT_TEMPLATE).is_file()


def _prompting(version: Version, folder: Path, is_chat: bool) -> dict[str, Any]:
    """Return what registration writes for a model that it has trained."""
    from modelmill.corpus.text import tokenizer
    from modelmill.corpus.text.chat_tokens import ChatTokens
    from modelmill.corpus.text.shown import UnfitTemplateError

    vocabulary, config = tokenizer.vocabulary(folder), weights.read_config(folder)
    length = next((config[name] for name in POSITIONS if config.get(name)), LENGTH)
    said = {"length": length, "model": version.name}
    if not is_chat:
        before = vocabulary.opening or [vocabulary.end]
        return {**said, "before": before, "after": [], "end": [vocabulary.end], "trims": False}
    today = date.today()
    try:
        stops = ChatTokens(folder, today, vocabulary.end).stops
    except UnfitTemplateError as error:
        raise UserError(f"{version}: its chat template {error}") from error
    return {**said, "chat": True, "date": today.isoformat(), "end": sorted({*stops, vocabulary.end})}
