"""The model of a recipe whose checkpoint decides what the network is."""

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field

from modelmill.recipe.section import Section

AUTO: Literal["auto"] = "auto"


class PretrainedModel(Section):
    """The network of a checkpoint; any architecture that `transformers` has with the task's head.

    Attributes:
        heads: Classes of `transformers` that the network is loaded with, the first that has the architecture.
    """

    # Not required here, but in documents: a model without a type is of the task's own.
    model_config = ConfigDict(json_schema_extra={"required": ["type"]})

    heads: ClassVar[tuple[str, ...]] = ()

    type: Literal["auto"] = Field(
        default=AUTO, description="`auto`: the checkpoint in `pretraining.init` decides what the network is."
    )


class GivenProcessor(Section):
    """The image processor of a checkpoint, with which `model.type: auto` prepares images."""

    source: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        description="Checkpoint that the processor is taken from, named as `pretraining.init` is, and by default that "
        "one.",
    )
    size: int | None = Field(
        default=None,
        ge=4,
        le=4096,
        description="Pixels of a side, or of the longer side where the processor keeps shapes, in place of the "
        "checkpoint's; refused where the architecture does not take it.",
    )


def by_type(default: str) -> Discriminator:
    """Return what chooses between a task's own model and a checkpoint's by the key `type`.

    Args:
        default: Type of a model that names none, which is the tag of the task's own.
    """

    def type_of(value: Any) -> str | None:
        given = value.get("type", default) if isinstance(value, dict) else getattr(value, "type", default)
        return given if isinstance(given, str) else None

    return Discriminator(
        type_of, custom_error_type="unknown_model", custom_error_message=f"its type should be {default} or {AUTO}"
    )
