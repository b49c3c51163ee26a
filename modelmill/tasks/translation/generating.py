"""How a checkpoint writes: which token begins a translation, and which language it is told to write."""

from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError
from modelmill.runtime.sources.layout import GENERATION
from modelmill.tasks.translation.decoder_inputs import Start
from modelmill.tasks.translation.sides import Sides

# Settings that act in sampling alone, and with several beams alone.
_SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    "num_return_sequences",
)
_BEAMS = ("early_stopping", "length_penalty")
# Settings of generation_config.json that are said in the log where they are not as usual.
_SAID = ("num_beams", "length_penalty", "min_length", "no_repeat_ngram_size", "early_stopping")


def opening(model: Any, start: Start, sides: Sides) -> list[int]:
    """Return the ids that the decoder is given before the first of a text's own.

    Args:
        model: The model.
        start: How transformers starts the texts that it learns.
        sides: Both sides of a translation.
    """
    token = sides.target.after[-1] if start == "last" else int(model.config.decoder_start_token_id)
    return [token, *sides.target.before]


def configure(model: Any, start: Start, sides: Sides, folder: Path, where: str) -> None:
    """Set how `generate` writes: as the checkpoint says, and beginning as the decoder does in training, in place.

    Args:
        model: The model.
        start: How transformers starts the texts that it learns.
        sides: Both sides of a translation.
        folder: The checkpoint; its `generation_config.json` counts where it has one.
        where: What the model is, for messages.

    Raises:
        UserError: The decoder is not told the language.
    """
    from transformers import GenerationConfig

    if (folder / GENERATION).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    begins, generation = opening(model, start, sides), model.generation_config
    if sides.language is not None and sides.language not in begins[:2]:
        raise UserError(
            f"{where}: its tokenizer puts the language after the text, where the decoder does not see it; set "
            "legacy_behaviour to false in tokenizer_config.json"
        )
    model.config.decoder_start_token_id = generation.decoder_start_token_id = begins[0]
    if sides.language is not None:
        is_second = begins[0] != sides.language
        generation.forced_bos_token_id = sides.language if is_second else None
    generation.max_length, generation.max_new_tokens = None, sides.length
    # What has no effect here is not saved: transformers refuses to write it.
    generation.do_sample = False
    for name in (*_SAMPLING, *(() if (generation.num_beams or 1) > 1 else _BEAMS)):
        setattr(generation, name, None)


def said(model: Any) -> str:
    """Return in words how translations are written."""
    generation = model.generation_config
    found = {
        name: value for name in _SAID if (value := getattr(generation, name, None)) not in (None, 0, 1, 1.0, False)
    }
    return ", ".join(f"{name} {value}" for name, value in found.items()) or "greedily"
