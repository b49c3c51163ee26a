"""The sections `pretraining` and `fine_tuning`: how the engine trains."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from modelmill.recipe.section import Section

Compile = Literal["auto", "on", "off"]


class BadBatches(Section):
    """What happens to a batch whose loss or gradient is not finite, or whose loss is a spike."""

    action: Literal["skip", "stop"] = Field(
        default="skip",
        description="`skip` leaves the weights as they were before the batch; `stop` ends the step at the first one.",
    )
    deviations: float | None = Field(
        default=None,
        gt=0,
        description="Standard deviations above the mean of the last 128 losses from which on a loss is a spike (6 in "
        "OLMo 2, https://arxiv.org/abs/2501.00656, section 3.4); null: no loss is one.",
    )
    limit: int = Field(
        default=10,
        ge=0,
        description="Skipped batches after which the step ends, with the names of the samples.",
    )


class Training(Section):
    """How the engine trains; the same keys for pretraining and fine-tuning.

    The learning rate rises to `learning_rate` during the warm-up and then follows `schedule`. The validation loss is
    measured every `evaluate_every` steps; the weights with the best one are the step's result.
    """

    steps: int = Field(ge=0, le=10_000_000, description="Most optimizer steps; 0 only loads the weights.")
    learning_rate: float = Field(
        gt=0, le=100, description="Learning rate after the warm-up; `modelmill lr-find` suggests one."
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["all"] = Field(
        default=16, description="Examples, or packed sequences, a step; `all` takes the whole training split."
    )
    group_by_length: bool = Field(
        default=False,
        description="Whether examples of like length share a batch, where the task pads batches to their longest: "
        "faster steps, each of which may teach less.",
    )
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="Examples at once, where a batch does not fit into memory; the gradient is still the whole "
        "batch's. `auto` takes what fits.",
    )
    devices: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Processes on a machine that train together, on a GPU each or on the CPU's cores; `batch_size` "
        "must divide by them.",
    )
    nodes: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Machines of a cluster that train together as a TrainJob, with `devices` processes each.",
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="`ddp`: each process holds the whole model; `fsdp`: a part of every weight, gradient and "
        "optimizer state.",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Whether to keep only the input of each block and compute the rest again in the backward pass: a "
        "third more work, far less memory.",
    )
    optimizer: Literal["adamw", "sgd", "muon"] = Field(
        default="adamw", description="Optimizer; `muon` is Muon for the hidden matrices and AdamW for the rest."
    )
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Momentum of `sgd`.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of AdamW's average of the gradient.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="Decay of AdamW's average of the squared gradient.")
    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="Weight decay of matrices; vectors such as biases do not decay."
    )
    warmup: float = Field(
        default=0.0, ge=0, le=0.5, description="Fraction of the steps in which the learning rate rises."
    )
    schedule: Literal["constant", "cosine", "wsd"] = Field(
        default="constant",
        description="Learning rate after the warm-up: `cosine` falls all the way, `wsd` (warm-up, stable, decay) "
        "falls linearly in the last `decay` of the steps.",
    )
    decay: float = Field(default=0.2, gt=0, le=0.5, description="Fraction of the steps in which `wsd` falls.")
    floor: float = Field(
        default=0.1, ge=0, le=1, description="Where `cosine` and `wsd` end, as a fraction of `learning_rate`."
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="Greatest norm of the gradient, which is scaled down to it; null does not clip."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Part of a label's probability that is spread over all labels in training."
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay, such as 0.999, of an exponential moving average of the weights, which is then measured "
        "and kept; null keeps the weights themselves.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Number format of products; `auto` is bf16 where the hardware multiplies in it."
    )
    compile: Compile = Field(
        default="auto",
        description="Whether the model is compiled; `auto` does so where there is a C++ compiler and the training is "
        "long enough to gain by it.",
    )
    bad_batches: BadBatches = Field(
        default=BadBatches(), description="What happens to a batch whose loss or gradient is not finite, or is a spike."
    )
    evaluate_every: int = Field(default=50, ge=1, description="Steps between measurements of the validation loss.")
    validation_batches: int = Field(
        default=10, ge=1, description="Most batches, of 32 examples each, that the validation loss is measured on."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Measurements without a better validation loss after which training stops; null trains all steps.",
    )
    checkpoint_seconds: float = Field(default=30.0, ge=0, description="Seconds between checkpoints.")

    @field_validator("compile", mode="before", json_schema_input_type=Compile | bool)
    @classmethod
    def _on_and_off_are_words(cls, value: Any) -> Any:
        # YAML 1.1 reads `on` and `off` as booleans.
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _devices_share_the_batch(self) -> "Training":
        together = self.devices * self.nodes
        if isinstance(self.batch_size, int) and self.batch_size % together:
            larger = self.batch_size + together - self.batch_size % together
            on = f" on {self.nodes} nodes" if self.nodes > 1 else ""
            raise ValueError(
                f"{self.devices} devices{on} cannot share a batch_size of {self.batch_size} evenly; try {larger}"
            )
        return self


class Pretraining(Training):
    """Training from random or given weights."""

    init: str = Field(
        default="random",
        min_length=1,
        description="Weights to start from: `random`, a model folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` "
        "or `models:/NAME/VERSION`.",
    )


class FineTuning(Training):
    """Training of the pretrained model for its purpose."""

    method: Literal["full"] = Field(default="full", description="Weights that are trained; `full`: all.")
    frozen_layers: int = Field(
        default=0,
        ge=0,
        description="Blocks, counted from the input, that stay as they are, and with them what is before the first; "
        "of an encoder and a decoder the encoder's come first.",
    )
    layer_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Factor of the learning rate from a block to the one below it, such as 0.9: the head learns at the "
        "full rate, what is before the first block at the least; null: all learn alike.",
    )
    onnx: bool = Field(
        default=False,
        description="Whether to make `onnx/model.onnx` as well, checked by onnxruntime on held-out examples.",
    )

    @property
    def teacher(self) -> str | None:
        """Return the model that is learned from; None where data alone is."""
        return None

    def with_teacher(self, source: str) -> "FineTuning":
        """Return these settings with the teacher taken from elsewhere, where there is one."""
        return self
