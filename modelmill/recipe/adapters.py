"""Fine-tuning with low-rank adapters."""

from typing import Literal

from pydantic import Field

from modelmill.recipe.sections import FineTuning, Section

# The linear layers of a block, by their names in `transformers`.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Lora(Section):
    """Low-rank adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(default=8, ge=1, description="Rank of the adapters.")
    alpha: float = Field(
        default=16.0, gt=0, description="Scale of the adapters: their product is weighted by alpha / rank."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout of what enters the adapters, in training.")
    target_modules: list[str] = Field(
        default=LINEAR, min_length=1, description="Modules that get adapters; by default all linear layers of a block."
    )


class AdaptedFineTuning(FineTuning):
    """Training of all weights, or of adapters that are merged into the weights at the end."""

    method: Literal["full", "lora", "dora"] = Field(  # type: ignore[assignment]
        default="full",
        description="Weights that are trained: all (`full`), low-rank adapters (`lora`), or these and the magnitudes "
        "of the weights (`dora`; Liu et al., 2024, https://arxiv.org/abs/2402.09353).",
    )
    lora: Lora = Field(default=Lora(), description="Adapters of `lora` and `dora`.")

    @property
    def adapted(self) -> list[str]:
        """Return the names of the modules that get adapters."""
        return [] if self.method == "full" else self.lora.target_modules
