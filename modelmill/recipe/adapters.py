"""Fine-tuning with low-rank adapters."""

from typing import Any, Literal

from pydantic import Field, field_validator

from modelmill.recipe.sections import FineTuning, Section

ALL_LINEAR: Literal["all-linear"] = "all-linear"
# The linear layers of a Llama-shaped block, by their names in `transformers`.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Lora(Section):
    """Low-rank adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(default=8, ge=1, description="Rank of the adapters.")
    alpha: float = Field(
        default=16.0, gt=0, description="Scale of the adapters: their product is weighted by alpha / rank."
    )
    rank_stabilised: bool = Field(
        default=False,
        description="Whether the product is weighted by alpha / sqrt(rank) instead, so that high ranks learn as fast "
        "(rsLoRA; Kalajdzievski, 2023, https://arxiv.org/abs/2312.03732).",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout of what enters the adapters, in training.")
    target_modules: Literal["all-linear"] | list[str] = Field(
        default=ALL_LINEAR,
        description="Modules that get adapters: every linear layer of the blocks, fused ones and experts included, but "
        "neither head nor embedding (`all-linear`), or a list of their names.",
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _are_targets(cls, value: Any) -> Any:
        if value != ALL_LINEAR and not (isinstance(value, list) and value):
            raise ValueError(f"should be {ALL_LINEAR} or a list of at least 1 name of a module")
        return value


class AdaptedFineTuning(FineTuning):
    """Training of all weights, or of adapters that are merged into the weights at the end."""

    method: Literal["full", "lora", "dora"] = Field(  # type: ignore[assignment]
        default="full",
        description="Weights that are trained: all (`full`), low-rank adapters (`lora`), or these and the magnitudes "
        "of the weights (`dora`; Liu et al., 2024, https://arxiv.org/abs/2402.09353).",
    )
    lora: Lora = Field(default=Lora(), description="Adapters of `lora` and `dora`.")

    @property
    def adapted(self) -> bool:
        """Return whether adapters are trained."""
        return self.method != "full"

    @property
    def named_modules(self) -> list[str]:
        """Return the names of modules that the recipe wants adapters for; none where it names none."""
        targets = self.lora.target_modules
        return list(targets) if self.adapted and isinstance(targets, list) else []
