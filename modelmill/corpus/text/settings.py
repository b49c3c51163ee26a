"""Settings of text: the tokenizer, pairs, and which documents are mended or left out."""

import datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from modelmill.corpus.text.conversations.names import FORMATS, nested
from modelmill.recipe.sections import Preparation, Section


class Tokenizer(Section):
    """A byte-level BPE tokenizer, trained on the training split or taken from another model."""

    vocab_size: int = Field(default=4096, ge=260, le=65_536, description="Tokens of the tokenizer that is trained.")
    source: str | None = Field(
        default=None,
        alias="from",
        description="Model whose tokenizer is taken instead: a folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` "
        "or `models:/NAME/VERSION`; null trains one.",
    )


Source = Literal["python_docstrings", "columns", "messages", "sharegpt", "alpaca", "preferences", "labelled"]


class Pairs(Section):
    """Prompts and responses, conversations or preferences that fine-tuning learns."""

    source: Source = Field(
        alias="from",
        description="Source of the pairs: `python_docstrings` makes them of Python functions, without their "
        "docstring, and the docstring; `columns` takes two columns; the others are formats of conversations, "
        "preferences and labelled answers, which need `framing: chat`.",
    )
    columns: dict[str, str] = Field(
        default={},
        description="Names of columns in the data by the standard names of the format, where they differ, such as "
        "`messages: chat`. A column `source` names where a row is from, and evaluation slices by it.",
    )
    malformed: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="What happens to a row that is not of the format, has no assistant turn or a tool result without a "
        "call: `refuse` stops the run, `leave_out` leaves the row out and counts it.",
    )
    equal: Literal["drop", "refuse"] = Field(
        default="drop",
        description="What happens to a preference whose chosen and rejected answers are equal: it is dropped and "
        "counted, or the run stops.",
    )
    prompt: str = Field(default="prompt", description="Column with the prompts, for `columns`.")
    response: str = Field(default="response", description="Column with the responses, for `columns`.")
    framing: Literal["separator", "chat"] = Field(
        default="separator",
        description="How the model sees a pair: with a `separator` between prompt and response, or as the `chat` "
        "template of the tokenizer in `tokenizer.from` has it.",
    )
    learn: Literal["last_turn", "all_assistant_turns"] = Field(
        default="all_assistant_turns",
        description="Which messages of the assistant are learned in a conversation: all, or those after the last "
        "message of the user. Weights of messages count beside it.",
    )
    too_long: Literal["truncate_prompt", "split", "drop", "refuse"] = Field(
        default="truncate_prompt",
        description="What happens to a pair longer than `sequence_length` tokens: its prompt loses its beginning (a "
        "conversation its oldest exchanges), a response that is longer by itself its end and its stop. Conversations "
        "can be `split` between exchanges, each part with the system message.",
    )
    date: datetime.date = Field(
        default=datetime.date(2024, 7, 26),
        description="Date in chat templates that write the day's date, so that equal work is equal.",
    )

    @property
    def nested(self) -> list[str]:
        """Return the columns that may hold lists or objects; empty where the format has none."""
        return nested(self.source, self.columns) if self.source in FORMATS else []

    @model_validator(mode="after")
    def _fits_the_format(self) -> "Pairs":
        if self.source not in FORMATS:
            if self.columns:
                raise ValueError(
                    f"columns: from: {self.source} has none to name; for two columns set prompt and response"
                )
            return self
        known = (*FORMATS[self.source].required, *FORMATS[self.source].optional)
        if unknown := [name for name in self.columns if name not in known]:
            raise ValueError(f"columns: from: {self.source} has no {unknown[0]!r}; it has {', '.join(known)}")
        if self.framing != "chat":
            raise ValueError(f"from: {self.source} needs framing: chat, and a chat model's tokenizer in tokenizer.from")
        return self

    @model_validator(mode="after")
    def _can_split(self) -> "Pairs":
        if self.too_long == "split" and self.source not in ("messages", "sharegpt", "alpaca"):
            raise ValueError(f"too_long: split is for conversations, and from: {self.source} has none; set drop")
        return self

    @field_validator("date", mode="before")
    @classmethod
    def _read_date(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return datetime.date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no date such as 2024-07-26") from error


class NearDuplicates(Section):
    """Documents that share most of their runs of words, as far as MinHash tells; the first of them is kept."""

    similarity: float = Field(
        default=0.8, gt=0, lt=1, description="Least Jaccard similarity of two documents' sets of runs of words."
    )
    permutations: int = Field(
        default=128,
        ge=16,
        le=1024,
        description="Length of the signatures: 4 bytes each a document, and the error is about 1 / sqrt(permutations).",
    )
    words: int = Field(default=5, ge=1, le=50, description="Words in a run.")


class Contamination(Section):
    """Training documents that share a run of words with a held-out document; they are left out."""

    words: int = Field(default=13, ge=3, le=100, description="Words in a run.")
    common: int | None = Field(
        default=10,
        ge=1,
        description="Runs in more training documents than this are phrases, such as licences, and do not count; null "
        "counts all.",
    )


class Hygiene(Section):
    """Documents that are mended and documents that are left out; all is off unless it is asked for.

    `unicode` and `redact` come first; the others look at the mended documents.
    """

    unicode: Literal["NFC", "NFKC"] | None = Field(
        default=None, description="Unicode normalisation of each document; null leaves them as they are."
    )
    redact: list[Literal["emails", "secrets"]] = Field(
        default=[], description="What is replaced in documents, by `<email>` and `<secret>`."
    )
    broken: Literal["keep", "drop"] = Field(
        default="keep",
        description="What happens to documents with control characters or U+FFFD, the trace of bytes that were no "
        "UTF-8.",
    )
    min_characters: int | None = Field(
        default=None, ge=1, description="Characters of the shortest document that is kept; null keeps all."
    )
    max_characters: int | None = Field(
        default=None, ge=1, description="Characters of the longest document that is kept; null keeps all."
    )
    max_repetition: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Greatest fraction of a document's characters in lines that it has repeated; null keeps all.",
    )
    exact_duplicates: Literal["keep", "drop"] = Field(
        default="keep",
        description="`drop` keeps only the first of equal documents, held-out ones before training ones.",
    )
    near_duplicates: NearDuplicates | None = Field(
        default=None, description="Documents that are nearly equal, of which the first is kept; `{}` looks for them."
    )
    contamination: Contamination | None = Field(
        default=None,
        description="Training documents that share a run of words with a held-out one, which are left out; `{}` looks "
        "for them.",
    )


class TokenizedPreparation(Preparation):
    """How texts become tokens."""

    tokenizer: Tokenizer = Field(default=Tokenizer(), description="Tokenizer of the model.")
    sequence_length: int = Field(description="Tokens of an example.")

    @property
    def given_checkpoint(self) -> str | None:
        """Return the model folder or version that the tokenizer is taken from; None where none is."""
        return self.tokenizer.source

    @property
    def context_length(self) -> int | None:
        """Return how many positions a model must have, in tokens or items."""
        return self.sequence_length

    def with_checkpoint(self, source: str) -> Preparation:
        """Return these settings with the tokenizer taken from elsewhere.

        Args:
            source: Model folder or version that has the tokenizer.
        """
        return self.model_copy(update={"tokenizer": self.tokenizer.model_copy(update={"source": source})})


class LanguagePreprocessing(TokenizedPreparation):
    """How documents become packed sequences of tokens, and pairs."""

    text: str = Field(
        default="text",
        description="Column with the documents. Where `pairs.from` is a format of conversations it is not read: the "
        "documents are the contents of their messages.",
    )
    sequence_length: int = Field(default=256, ge=8, le=1_048_576, description="Tokens of a packed sequence.")
    pairs: Pairs | None = Field(default=None, description="Prompts and responses that fine-tuning learns; null: none.")
    hygiene: Hygiene = Field(
        default=Hygiene(), description="Documents that are mended and documents that are left out."
    )

    @property
    def conversations(self) -> Pairs | None:
        """Return the section `pairs` where rows are conversations, preferences or labelled answers; else None."""
        return self.pairs if self.pairs is not None and self.pairs.source in FORMATS else None

    @property
    def for_documents(self) -> "LanguagePreprocessing":
        """Return the settings for those who read documents only: pairs are not made where documents are without."""
        return self if self.conversations else self.model_copy(update={"pairs": None})

    @property
    def beside_documents(self) -> frozenset[str]:
        """Return the keys that make no difference to documents."""
        return frozenset({"sequence_length"} if self.conversations else {"pairs", "sequence_length"})

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        if self.conversations is None or self.split_by:
            return super().held_out
        return super().held_out | {"preprocessing.split_by": "the user's first message"}

    @property
    def needs_chat_template(self) -> bool:
        """Return whether the given tokenizer must have a chat template."""
        return self.pairs is not None and self.pairs.framing == "chat"

    @model_validator(mode="after")
    def _has_a_template(self) -> "LanguagePreprocessing":
        if self.pairs is not None and self.pairs.framing == "chat" and self.tokenizer.source is None:
            raise ValueError(
                "pairs.framing: chat needs a tokenizer with a chat template: name a chat model's folder in "
                "tokenizer.from, or set framing: separator"
            )
        return self
