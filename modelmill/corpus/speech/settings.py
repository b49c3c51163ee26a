"""The preprocessing of recordings with transcripts."""

from typing import Any, Literal

from pydantic import Field, model_validator

from modelmill.corpus.settings import Rows
from modelmill.recipe.sections import Preparation


def require_recordings(recipe: Any) -> None:
    """
    Raises:
        ValueError: the recipe's data is no manifest of recordings.
    """
    if recipe.data.media != "audio":
        raise ValueError("data.media: this task learns from recordings; set it to audio")


class SpeechPreprocessing(Preparation):
    """`transcript` is the column that says what is spoken. Rows that `fine_tune_on` names are for fine-tuning, the
    others for pretraining; without it there is one corpus, and one stage.

    Recordings become one channel of `sample_rate` Hz; one of another rate is resampled (`resample`), or refused. A
    transcript is of the characters of `alphabet`, or without it of those of the training transcripts; `lowercase` makes
    it lower case first. A row is refused or dropped (`unusable`) whose transcript is empty or has another character,
    whose recording is longer than `max_seconds`, or too short for what it is to say.
    """

    transcript: str = "transcript"
    fine_tune_on: Rows | None = None
    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    resample: bool = False
    lowercase: bool = True
    alphabet: str | None = Field(default=None, min_length=1)
    max_seconds: float = Field(default=20.0, gt=0, le=600)
    unusable: Literal["refuse", "drop"] = "refuse"

    @property
    def held_out(self) -> dict[str, Any]:
        chosen = self.fine_tune_on
        return super().held_out | {"preprocessing.fine_tune_on": chosen.model_dump() if chosen else None}

    @model_validator(mode="after")
    def _characters_differ(self) -> "SpeechPreprocessing":
        twice = [one for one in self.alphabet or "" if (self.alphabet or "").count(one) > 1]
        if twice:
            raise ValueError(f"alphabet: {twice[0]!r} is there twice")
        return self
