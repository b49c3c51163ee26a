"""LoRA adapters through `peft`: added in place, kept separately, merged into the weights at the end."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from components.common.errors import UserError
from components.common.recipe.language_modeling import Lora

ADAPTER_FOLDER = "adapter"


class Adapters:
    """The adapters that were added to a model; the model itself goes on being called as before."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def finish(self, model: nn.Module, output: Path) -> nn.Module:
        """Save the adapters below `output` and return the model with them merged in."""
        folder = output / ADAPTER_FOLDER
        self.wrapped.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        # peft writes a set in no order, and as the base model a folder of this machine: neither is equal run to run.
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text("utf-8"))
        config |= {"base_model_name_or_path": None, "target_modules": sorted(config["target_modules"])}
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        return self.wrapped.merge_and_unload()


def add_adapters(model: nn.Module, settings: Lora) -> Adapters:
    """Freeze the model and add trainable adapters to the named modules, in place.

    Raises:
        UserError: a target module matches nothing.
    """
    from peft import LoraConfig, get_peft_model

    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    unknown = sorted(set(settings.target_modules) - linear)
    if unknown:
        known = ", ".join(sorted(linear))
        raise UserError(f"fine_tuning.lora.target_modules: the model has no module {unknown[0]!r}; it has {known}")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.target_modules),
        task_type="CAUSAL_LM",
    )
    return Adapters(get_peft_model(model, config))
