"""The recipe of a recommender that ranks a catalogue by what a user has come to so far."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section

TOP = 10


class InteractionPreprocessing(Preparation):
    """How interactions become histories.

    Of each user the last interaction is the test, the one before it validation, and the earlier ones are for training.
    An item that a user comes to again counts once, at the first time.
    """

    user: str = Field(default="user", description="Column with who came to the item.")
    item: str = Field(default="item", description="Column with the item.")
    timestamp: str = Field(
        default="timestamp", description="Column with the time: a number, a date or a time, not text."
    )
    rating: str | None = Field(default=None, description="Column with ratings; null counts every interaction.")
    least_rating: float | None = Field(
        default=None, description="Least rating that counts as an interaction; set with `rating`."
    )
    item_minimum: int = Field(
        default=1, ge=1, description="Interactions, held-out ones counted, below which an item is not in the catalogue."
    )
    cold_users: Literal["leave_out", "refuse"] = Field(
        default="leave_out",
        description="What happens to users with fewer than three interactions with different items: `leave_out` says "
        "how many, `refuse` stops the run.",
    )
    unknown_items: Literal["leave_out", "refuse"] = Field(
        default="leave_out",
        description="What `predict` does with items of a history that are not in the catalogue: `leave_out` names "
        "them in the answer's `unknown`.",
    )
    sequence_length: int = Field(
        default=50, ge=2, description="Last items that the network looks at; longer histories are cut into windows."
    )
    recent: float = Field(
        default=0.3, gt=0, le=1, description="Newest fraction of each training history, which fine-tuning learns."
    )

    split_by: Literal["user"] = Field(default="user", description="Always by user.")
    split_from: None = Field(default=None, description="Always null: each user's last interactions are held out.")
    validation: Literal["last_but_one"] = Field(  # type: ignore[assignment]
        default="last_but_one", description="Always the last but one interaction of each user."
    )
    test: Literal["last"] = Field(  # type: ignore[assignment]
        default="last", description="Always the last interaction of each user."
    )
    fit: Literal["always"] = Field(default="always", description="Always: the catalogue is that of the data.")

    @model_validator(mode="after")
    def _rating_has_a_threshold(self) -> "InteractionPreprocessing":
        if (self.rating is None) != (self.least_rating is None):
            raise ValueError("rating and least_rating belong together: set both, or neither")
        return self

    @property
    def context_length(self) -> int | None:
        """Return how many positions a model must have, in tokens or items."""
        return self.sequence_length

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the settings that decide which records are in the test split, by dotted key."""
        counted = {"rating": self.rating, "least_rating": self.least_rating, "item_minimum": self.item_minimum}
        return {"preprocessing.test": "the last interaction of each user"} | {
            f"preprocessing.{key}": value for key, value in counted.items()
        }


class SASRecModel(Section):
    """A SASRec (Kang and McAuley, 2018, https://arxiv.org/abs/1808.09781): a Transformer over a user's last items."""

    type: Literal["sasrec"] = Field(default="sasrec", description="Architecture.")
    hidden_size: int = Field(default=64, ge=2, description="Width of the hidden states.")
    num_hidden_layers: int = Field(default=2, ge=1, le=1024, description="Blocks of attention and feed-forward layers.")
    num_attention_heads: int = Field(
        default=1, ge=1, description="Attention heads of a block; `hidden_size` must be a multiple of them."
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Dropout after the embedding and in each block.")

    @model_validator(mode="after")
    def _heads_divide(self) -> "SASRecModel":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class RankingGate(Section):
    """Thresholds of a recommender's metrics on each user's last item."""

    recall: Bound | None = Field(default=None, description="Fraction of the users whose item is among the first ten.")
    ndcg: Bound | None = Field(
        default=None,
        description="Mean gain: 1 for an item on the first place, 1 / log2(place + 1) down to the tenth, else 0.",
    )
    ndcg_before: Bound | None = Field(default=None, description="`ndcg` of the pretrained model, before fine-tuning.")


class RankingComparison(Comparison):
    """How a recommender is compared with the champion, user by user."""

    metric: Literal["ndcg", "recall"] = "ndcg"


class RankingEvaluation(Evaluation):
    """When a recommender is good enough, and which samples the report shows."""

    baseline: bool = Field(
        default=True,
        description="Whether both metrics must exceed those of the most popular items and of item-kNN by cosine.",
    )
    gate: RankingGate = RankingGate()
    comparison: RankingComparison | None = RankingComparison()
    samples: int = Field(default=5, ge=0, le=100, description="Ranked lists that the report shows.")


class Recipe(sections.Recipe):
    """Interactions in; a catalogue and a SASRec out, pretrained on all of them and fine-tuned on recent ones."""

    task: Literal["recommendation"]
    preprocessing: InteractionPreprocessing = InteractionPreprocessing()
    model: SASRecModel = SASRecModel()
    evaluation: RankingEvaluation = RankingEvaluation()

    measures: ClassVar = {
        "ndcg": Measure("score", higher_is_better=True),
        "recall": Measure("correct", higher_is_better=True),
    }
    libraries: ClassVar = {"evaluation": ("scipy",)}

    @model_validator(mode="after")
    def _gate_is_of_what_is_trained(self) -> "Recipe":
        if self.evaluation.gate.ndcg_before is not None and (self.pretraining is None or self.fine_tuning is None):
            raise ValueError("evaluation.gate.ndcg_before needs pretraining and fine_tuning")
        return self
