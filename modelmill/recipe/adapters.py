"""Fine-tuning with low-rank adapters."""

from typing import Literal

from pydantic import Field

from modelmill.recipe.sections import FineTuning, Section

# The linear layers of a block, by their names in `transformers`.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Lora(Section):
    """Low-rank adapters (Hu et al., 2021, https://arxiv.org/abs/2106.09685) on the named modules; with `method: dora`
    the magnitudes of the weights are trained beside them (Liu et al., 2024, https://arxiv.org/abs/2402.09353).
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] = Field(default=LINEAR, min_length=1)


class AdaptedFineTuning(FineTuning):
    """`method: lora` or `dora` trains adapters only and merges them into the weights at the end."""

    method: Literal["full", "lora", "dora"] = "full"  # type: ignore[assignment]
    lora: Lora = Lora()

    @property
    def adapted(self) -> list[str]:
        """The modules that get adapters."""
        return [] if self.method == "full" else self.lora.target_modules
