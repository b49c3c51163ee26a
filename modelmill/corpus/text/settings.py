"""What recipes say of text: the tokenizer, pairs, and what is mended or left out."""

from typing import Literal

from pydantic import Field, model_validator

from modelmill.recipe.sections import Preparation, Section


class Tokenizer(Section):
    """A byte-level BPE tokenizer: trained with `vocab_size`, or taken whole `from` a model folder or version."""

    vocab_size: int = Field(default=4096, ge=260, le=65_536)
    source: str | None = Field(default=None, alias="from")


class Pairs(Section):
    """Where fine-tuning pairs come from.

    `python_docstrings`: from Python source, a function without its docstring -> the docstring.
    `columns`: from two columns of the data, named by `prompt` and `response`.
    `framing` says how the model sees them: with a `separator` between them, or as the `chat` of a user and an assistant
    that the chat template of the tokenizer `from` elsewhere makes of them.
    """

    source: Literal["python_docstrings", "columns"] = Field(alias="from")
    prompt: str = "prompt"
    response: str = "response"
    framing: Literal["separator", "chat"] = "separator"


class NearDuplicates(Section):
    """Documents whose sets of runs of so many `words` are at least so `similar` (Jaccard), as far as MinHash with so
    many `permutations` tells.
    """

    similarity: float = Field(default=0.8, gt=0, lt=1)
    permutations: int = Field(default=128, ge=16, le=1024)
    words: int = Field(default=5, ge=1, le=50)


class Contamination(Section):
    """Training documents that share a run of so many words with a held-out document; runs that more than `common`
    training documents hold are phrases such as licences and do not count (`null`: all do).
    """

    words: int = Field(default=13, ge=3, le=100)
    common: int | None = Field(default=10, ge=1)


class Hygiene(Section):
    """What is mended in documents and which are left out; everything is off unless it is asked for.

    `unicode` normalises and `redact` replaces, before anything else looks at a document. `broken: drop` leaves out
    those with U+FFFD (the trace of bytes that were no UTF-8) or control characters; `max_repetition` is the fraction of
    characters in repeated lines.
    """

    unicode: Literal["NFC", "NFKC"] | None = None
    redact: list[Literal["emails", "secrets"]] = []
    broken: Literal["keep", "drop"] = "keep"
    min_characters: int | None = Field(default=None, ge=1)
    max_characters: int | None = Field(default=None, ge=1)
    max_repetition: float | None = Field(default=None, ge=0, lt=1)
    exact_duplicates: Literal["keep", "drop"] = "keep"
    near_duplicates: NearDuplicates | None = None
    contamination: Contamination | None = None


class LanguagePreprocessing(Preparation):
    """`text` is the column that holds a document; sequences are packed to `sequence_length` tokens."""

    tokenizer: Tokenizer = Tokenizer()
    text: str = "text"
    sequence_length: int = Field(default=256, ge=8, le=1_048_576)
    pairs: Pairs | None = None
    hygiene: Hygiene = Hygiene()

    @model_validator(mode="after")
    def _has_a_template(self) -> "LanguagePreprocessing":
        if self.pairs is not None and self.pairs.framing == "chat" and self.tokenizer.source is None:
            raise ValueError(
                "pairs.framing: chat needs a tokenizer with a chat template: name a chat model's folder in "
                "tokenizer.from, or set framing: separator"
            )
        return self
