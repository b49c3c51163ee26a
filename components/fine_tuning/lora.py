"""LoRA and DoRA adapters through `peft`: added in place, saved separately, merged into the weights at the end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelmill.components.fine_tuning.agreement import require_agreement
from modelmill.core.errors import UserError
from modelmill.recipe.adapters import AdaptedFineTuning

ADAPTER_FOLDER = "adapter"


class Adapters:
    """The adapters that were added to a model, which is called as before.

    Attributes:
        wrapped: The model as `peft` wraps it.
    """

    def __init__(self, wrapped: Any) -> None:
        """Hold the model that `peft` has wrapped."""
        self.wrapped = wrapped

    def save(self, output: Path) -> None:
        """Write the adapters below `output`."""
        folder = output / ADAPTER_FOLDER
        self.wrapped.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        # peft writes a set without order and a folder of this machine as the base model, so equal runs would differ.
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text("utf-8"))
        config |= {"base_model_name_or_path": None, "target_modules": sorted(config["target_modules"])}
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")

    @torch.no_grad()
    def merge(self, logits: Callable[[nn.Module], torch.Tensor]) -> nn.Module:
        """Return the model with the adapters merged into its weights.

        Args:
            logits: Computes a model's logits on real examples, in fp32.

        Raises:
            ModelmillError: Merging the adapters changes the logits.
        """
        adapted = logits(self.wrapped.get_base_model().eval())
        model: nn.Module = self.wrapped.merge_and_unload(safe_merge=True).eval()
        advice = "set fine_tuning.method: full"
        require_agreement("fine_tuning: merging the adapters", adapted, logits(model), advice)
        return model


def add_adapters(model: Any, settings: AdaptedFineTuning) -> Adapters:
    """Freeze the model and add trainable adapters to the named modules, in place.

    Raises:
        UserError: A target module matches nothing, or shares its weights with the embedding.
    """
    from peft import LoraConfig, get_peft_model

    lora = settings.lora
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    unknown = sorted(set(lora.target_modules) - linear)
    if unknown:
        known = ", ".join(sorted(linear))
        raise UserError(f"fine_tuning.lora.target_modules: the model has no module {unknown[0]!r}; it has {known}")
    shared = model.get_input_embeddings().weight
    tied = {name for name, module in model.named_modules() if getattr(module, "weight", None) is shared}
    if both := sorted(set(lora.target_modules) & tied):
        raise UserError(
            f"fine_tuning.lora.target_modules: {both[0]} shares its weights with the embedding, which would change "
            "with it; leave it out"
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(lora.target_modules),
        use_dora=settings.method == "dora",
        task_type="CAUSAL_LM",
    )
    return Adapters(get_peft_model(model, config))
