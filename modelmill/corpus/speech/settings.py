"""The preprocessing of recordings with transcripts."""

from typing import Any, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import RowSelection
from modelmill.recipe.sections import Preparation


def require_recordings(recipe: Any) -> None:
    """Check that a recipe's data are recordings.

    Args:
        recipe: Recipe of a task that learns from recordings.

    Raises:
        ValueError: The shards are not manifests of recordings.
    """
    if recipe.data.media != "audio":
        raise ValueError("data.media: this task learns from recordings; set it to audio")


class SpeechPreprocessing(Preparation):
    """How recordings with transcripts become examples; their channels are averaged to one."""

    transcript: str = Field(default="transcript", description="Column with the spoken text.")
    fine_tune_on: RowSelection | None = Field(
        default=None,
        description="Rows that are for fine-tuning; all others are for pretraining. Without it there is one corpus, "
        "and one stage is `none`.",
    )
    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000, description="Sample rate of the network, in Hz.")
    resample: bool = Field(
        default=False, description="Whether a recording of another rate is resampled; else it stops the run."
    )
    lowercase: bool = Field(default=True, description="Whether texts are made lower case first, in use as well.")
    alphabet: str | None = Field(
        default=None,
        min_length=1,
        description="Characters that a transcript may have, each once; null takes those of the training transcripts.",
    )
    max_seconds: float = Field(
        default=20.0, gt=0, le=600, description="Length in seconds of the longest usable recording."
    )
    unusable: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to a row whose transcript is empty or has a character that is not in the alphabet, "
        "or whose recording is longer than `max_seconds` or too short for its transcript: `refuse` stops the run by "
        "name, `drop` leaves the row out.",
    )

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        chosen = self.fine_tune_on
        return super().held_out | {"preprocessing.fine_tune_on": chosen.model_dump() if chosen else None}

    @model_validator(mode="after")
    def _characters_differ(self) -> "SpeechPreprocessing":
        twice = [one for one in self.alphabet or "" if (self.alphabet or "").count(one) > 1]
        if twice:
            raise ValueError(f"alphabet: {twice[0]!r} is there twice")
        return self
