"""The recipe of a recommender that ranks a catalogue by what a user has come to so far."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from modelmill.recipe import sections
from modelmill.recipe.measure import Measure
from modelmill.recipe.sections import Bound, Comparison, Evaluation, Preparation, Section

TOP = 10


class InteractionPreprocessing(Preparation):
    """Which columns say who (`user`), what (`item`) and when (`timestamp`).

    Of each user the last interaction is the test, the one before it validation, and those before that are for training:
    there is no fraction to choose, and no column to split by. With `rating` only interactions of `least_rating` or more
    count. An item that a user comes to again counts once, at the first time. Items with fewer than `item_minimum`
    interactions are not in the catalogue, and users with fewer than three left are `cold_users`.
    Fine-tuning learns the newest `recent` part of each user's interactions. `sequence_length` is how many items the
    network sees at once. `unknown_items` says what is made of an item in a history, in serving, that is not in the
    catalogue.
    """

    user: str = "user"
    item: str = "item"
    timestamp: str = "timestamp"
    rating: str | None = None
    least_rating: float | None = None
    item_minimum: int = Field(default=1, ge=1)
    cold_users: Literal["leave_out", "refuse"] = "leave_out"
    unknown_items: Literal["leave_out", "refuse"] = "leave_out"
    sequence_length: int = Field(default=50, ge=2)
    recent: float = Field(default=0.3, gt=0, le=1)

    split_by: Literal["user"] = "user"
    validation: Literal["last_but_one"] = "last_but_one"  # type: ignore[assignment]
    test: Literal["last"] = "last"  # type: ignore[assignment]
    fit: Literal["always"] = "always"

    @model_validator(mode="after")
    def _rating_has_a_threshold(self) -> "InteractionPreprocessing":
        if (self.rating is None) != (self.least_rating is None):
            raise ValueError("rating and least_rating belong together: set both, or neither")
        return self

    @property
    def held_out(self) -> dict[str, Any]:
        counted = {"rating": self.rating, "least_rating": self.least_rating, "item_minimum": self.item_minimum}
        return {"preprocessing.test": "the last interaction of each user"} | {
            f"preprocessing.{key}": value for key, value in counted.items()
        }


class SASRecModel(Section):
    """SASRec (Kang and McAuley, 2018, https://arxiv.org/abs/1808.09781): a Transformer over a user's last items."""

    type: Literal["sasrec"] = "sasrec"
    hidden_size: int = Field(default=64, ge=2)
    num_hidden_layers: int = Field(default=2, ge=1)
    num_attention_heads: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> "SASRecModel":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class RankingGate(Section):
    """Thresholds. `recall` is how often the held-out item is among the first ten, `ndcg` what that is worth (1 on the
    first place, 1 / log2(place + 1) on later ones); `ndcg_before` is that of the pretrained model.
    """

    recall: Bound | None = None
    ndcg: Bound | None = None
    ndcg_before: Bound | None = None


class RankingComparison(Comparison):
    """`metric` is what the models are compared by, user by user."""

    metric: Literal["ndcg", "recall"] = "ndcg"


class RankingEvaluation(Evaluation):
    """The baselines are the most popular items, and item-kNN by the cosine of who came to them; both metrics must reach
    both. `samples` ranked lists are in the report.
    """

    gate: RankingGate = RankingGate()
    comparison: RankingComparison | None = RankingComparison()
    samples: int = Field(default=5, ge=0, le=100)


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
