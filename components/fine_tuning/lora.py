"""LoRA and DoRA adapters through `peft`: added in place, saved separately, merged into the weights at the end."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelmill.components.fine_tuning import targets
from modelmill.components.fine_tuning.agreement import require_agreement
from modelmill.core.errors import ModelmillError, UserError
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
        """Write the adapters below `output`, in fp32."""
        folder = output / ADAPTER_FOLDER
        embedding = "auto" if _embeds_tokens(self.wrapped.get_base_model()) else False
        self.wrapped.save_pretrained(folder, safe_serialization=True, save_embedding_layers=embedding)
        (folder / "README.md").unlink(missing_ok=True)
        # peft writes sets without order and a folder of this machine as the base model, so equal runs would differ.
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text("utf-8"))
        ordered = {key: sorted(config[key]) for key in ("target_modules", "target_parameters") if config.get(key)}
        config |= {"base_model_name_or_path": None, **ordered}
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")

    @torch.no_grad()
    def merge(self, logits: Callable[[nn.Module], torch.Tensor]) -> nn.Module:
        """Return the model with the adapters merged into its weights, in fp32: nothing is rounded before the check.

        Args:
            logits: Computes a model's logits on real examples, in fp32.

        Raises:
            ModelmillError: Merging the adapters changes the logits.
        """
        adapted = logits(self.wrapped.float().get_base_model().eval())
        model: nn.Module = self.wrapped.merge_and_unload(safe_merge=True).eval()
        advice = "set fine_tuning.method: full"
        require_agreement("fine_tuning: merging the adapters", adapted, logits(model), advice)
        return model


def add_adapters(model: Any, settings: AdaptedFineTuning, whole: Sequence[str] = ()) -> Adapters:
    """Freeze the model and add trainable adapters, in fp32, to the modules that the recipe wants, in place.

    Args:
        model: The model.
        settings: The stage's settings.
        whole: Names of modules that are trained themselves, in fp32, such as a new head.

    Raises:
        UserError: A target module matches nothing, shares its weights with the embedding, or cannot have adapters.
    """
    from peft import LoraConfig, get_peft_model

    lora, chosen = settings.lora, targets.choose(model, settings, whole)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=chosen.modules,
        target_parameters=chosen.parameters or None,
        fan_in_fan_out=chosen.transposed,
        use_dora=settings.method == "dora",
        use_rslora=lora.rank_stabilised,
        modules_to_save=list(whole) or None,
        task_type="CAUSAL_LM" if _is_causal(model) else None,
    )
    try:
        with warnings.catch_warnings():
            # peft corrects `fan_in_fan_out` where a model has both kinds of modules, and says so for each.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set")
            wrapped = get_peft_model(model, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{targets.KEY}: peft cannot add adapters to {type(model).__name__}: {why}") from error
    _require_adapters(wrapped, model, chosen)
    for name, parameter in wrapped.named_parameters():
        if ".modules_to_save." in name:
            parameter.data = parameter.data.float()
    _leave_experts_uncompiled(wrapped)
    return Adapters(wrapped)


def _embeds_tokens(model: Any) -> bool:
    """Return whether a model has an embedding that `peft` may look at; those that hear or see may have none."""
    try:
        return model.get_input_embeddings() is not None
    except (NotImplementedError, AttributeError):
        return False


def _is_causal(model: Any) -> bool:
    """Return whether `peft` is to take a model for one that continues texts; else it passes on what it is given."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _require_adapters(wrapped: Any, model: Any, chosen: targets.Targets) -> None:
    """Check that `peft` has added adapters wherever it was asked to, and nowhere else.

    Raises:
        ModelmillError: It has not.
    """
    added = len(wrapped.targeted_module_names) + len(wrapped.targeted_parameter_names)
    if added != chosen.places:
        raise ModelmillError(
            f"{targets.KEY}: peft added adapters to {added} of {chosen.places} places in {type(model).__name__}; "
            "name the modules, or set method: full"
        )


def _leave_experts_uncompiled(wrapped: nn.Module) -> None:
    """Keep `torch.compile` out of the experts' adapters, which change the module's class in each call."""
    from peft.tuners.lora.layer import ParamWrapper

    for module in wrapped.modules():
        if isinstance(module, ParamWrapper):
            module.forward = torch.compiler.disable(module.forward)
