"""Settings of text: the tokenizer, pairs, and which documents are mended or left out."""

import datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

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


class Pairs(Section):
    """Prompts and responses that fine-tuning learns."""

    source: Literal["python_docstrings", "columns", "messages", "sharegpt", "alpaca", "preferences", "labelled"] = (
        Field(
            alias="from",
            description="Source of the pairs: `python_docstrings` makes them of Python functions, without their "
            "docstring, and the docstring; `columns` takes two columns.",
        )
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
        description="What happens to a pair that is longer than `sequence_length` tokens: its prompt loses its "
        "beginning (a conversation its oldest exchanges first), and a response that is too long by itself its end, "
        "after which no stop is learned; or a conversation is `split` between exchanges, each part with the system "
        "message; or the pair is dropped; or the run ends.",
    )
    date: datetime.date = Field(
        default=datetime.date(2024, 7, 26),
        description="Date in chat templates that write the day's date, so that equal work is equal.",
    )

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
    def given_tokenizer(self) -> str | None:
        """Return the model folder or version that the tokenizer is taken from; None where none is."""
        return self.tokenizer.source

    @property
    def context_length(self) -> int | None:
        """Return how many positions a model must have, in tokens or items."""
        return self.sequence_length

    def with_tokenizer(self, source: str) -> Preparation:
        """Return these settings with the tokenizer taken from elsewhere.

        Args:
            source: Model folder or version that has the tokenizer.
        """
        return self.model_copy(update={"tokenizer": self.tokenizer.model_copy(update={"source": source})})


class LanguagePreprocessing(TokenizedPreparation):
    """How documents become packed sequences of tokens, and pairs."""

    text: str = Field(default="text", description="Column with the documents.")
    sequence_length: int = Field(default=256, ge=8, le=1_048_576, description="Tokens of a packed sequence.")
    pairs: Pairs | None = Field(default=None, description="Prompts and responses that fine-tuning learns; null: none.")
    hygiene: Hygiene = Field(
        default=Hygiene(), description="Documents that are mended and documents that are left out."
    )

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
