"""Sections that every recipe has, whatever its task."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from modelmill.recipe.measure import LOSS, Measure

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
GPU = "nvidia.com/gpu"
STAGES = ("pretraining", "fine_tuning")


class Section(BaseModel):
    """A part of a recipe: refuses unknown keys, values of another type, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


class Quarantine(Section):
    """What a run may leave out: shards that cannot be read, that do not fit the others, or whose rows break the suite.

    A shard breaks an expectation on single rows where fewer of its rows than `mostly` keep it. At most `shards` shards
    and `rows` rows (no bound if null) are left out, else the run stops. `samples` rows are kept for each rule.
    """

    shards: int = Field(default=0, ge=0)
    rows: int | None = Field(default=None, ge=0)
    samples: int = Field(default=5, ge=0, le=20)


class DriftLimits(Section):
    """From where on a column has drifted from the data of the model that is registered.

    `psi` is the population stability index, where 0.25 is usually called a large shift. `wasserstein`, of numbers, is
    in standard deviations of the reference: shifting a normal distribution by half of one gives 0.5, and a PSI of
    about 0.25. Distributions of fewer than `minimum` values are not compared.
    """

    psi: float = Field(default=0.25, gt=0)
    wasserstein: float = Field(default=0.5, gt=0)
    minimum: int = Field(default=500, ge=1)


class Data(Section):
    """Where the shards are, and the contract that they must keep.

    `path` is a folder, a file or a glob pattern, relative to the recipe, or an `s3://` URI. `suite` is a Great
    Expectations suite: in the file a path relative to the recipe, after loading the suite itself. Shards are scanned
    in `groups` tasks side by side. Without `quarantine` a bad shard stops the run. A run that trains only for a reason
    takes any new data for one (`retrain: new_data`), or data that has drifted from the registered model's (`drift`).

    With `media` the shards are manifests whose column `file` names images or recordings below the manifest's folder. A
    row whose file is missing or broken (`corrupt_files`) stops the run, or is left out everywhere.
    """

    path: str = Field(min_length=1)
    format: Literal["auto", "jsonl", "csv", "parquet", "text"] = "auto"
    media: Literal["images", "audio"] | None = None
    corrupt_files: Literal["refuse", "leave_out"] = "refuse"
    suite: str | dict[str, Any]
    groups: int = Field(default=1, ge=1, le=1000)
    quarantine: Quarantine | None = None
    drift: DriftLimits = DriftLimits()
    retrain: Literal["new_data", "drift"] = "new_data"

    @model_validator(mode="after")
    def _manifests_are_tables(self) -> "Data":
        if self.media is not None and self.format == "text":
            raise ValueError(f"media: a manifest of {self.media} is jsonl, csv or parquet, not text")
        return self


class Preparation(Section):
    """Held-out fractions; which split a record falls in is decided by a hash of its `split_by` column.

    Without `split_by` the hash is of the whole record, so that equal records stay together. The tokenizer or scaler is
    fitted on the training split: `always`, or `once` for all data to come under this recipe's name and settings.
    """

    split_by: str | None = None
    validation: float = Field(default=0.05, gt=0, lt=0.5)
    test: float = Field(default=0.05, gt=0, lt=0.5)
    fit: Literal["always", "once"] = "always"

    @property
    def held_out(self) -> dict[str, Any]:
        """What decides which records are in the test split, for whoever compares models by it."""
        return {"preprocessing.split_by": self.split_by or "the whole record", "preprocessing.test": self.test}


class BadBatches(Section):
    """What happens to a batch whose loss or gradient is not finite, or whose loss is a spike.

    A spike is a loss of more than `deviations` standard deviations above the mean of the last losses (6 in OLMo 2,
    https://arxiv.org/abs/2501.00656, section 3.4; `null`: no loss is one). `skip` leaves the weights as they were
    before the batch; `stop` ends the step. After `limit` skipped batches the step ends, too.
    """

    action: Literal["skip", "stop"] = "skip"
    deviations: float | None = Field(default=None, gt=0)
    limit: int = Field(default=10, ge=0)


class Training(Section):
    """How the engine trains; the same in pretraining and fine-tuning.

    `learning_rate` is reached after `warmup` (a fraction of the steps) and then follows `schedule`: `cosine` falls all
    the way, `wsd` (warm-up, stable, decay) falls linearly in the last `decay` of the steps, both to `floor` times
    `learning_rate`. `muon` trains the hidden matrices with Muon and the rest with AdamW,
    whose averages of the gradient and of its square decay by `beta1` and `beta2`.
    `batch_size` counts examples or sequences; `all` takes the whole training split each step. `group_by_length` puts
    examples of like length into one batch, where the task pads it to its longest. A batch that does not fit into
    memory is worked off in parts of `micro_batch_size`, with the same result; `auto` takes what fits.
    `devices` processes, each with its part of every batch, train together: on GPUs, or else on the machine's cores;
    on each of `nodes` machines of a cluster, if that is more than one.
    Each holds the whole model (`ddp`) or a part of it (`fsdp`). `activation_checkpointing` computes what a block holds
    again in the backward pass, for a third more work and much less memory.
    `ema` is the decay of an exponential moving average of the weights, which is then what is measured and kept.
    `compile: auto` compiles the model where a compiler is there and the training long enough to gain by it.
    Every `evaluate_every` steps the validation loss is measured, on at most `validation_batches` batches; when it has
    not improved for `patience` measurements, training stops; the best weights are what the step makes.
    """

    steps: int = Field(ge=0, le=10_000_000)
    learning_rate: float = Field(gt=0, le=100)
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["all"] = 16
    group_by_length: bool = False
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    devices: int = Field(default=1, ge=1, le=1024)
    nodes: int = Field(default=1, ge=1, le=1024)
    strategy: Literal["ddp", "fsdp"] = "ddp"
    activation_checkpointing: bool = False
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    warmup: float = Field(default=0.0, ge=0, le=0.5)
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    decay: float = Field(default=0.2, gt=0, le=0.5)
    floor: float = Field(default=0.1, ge=0, le=1)
    clip_norm: float | None = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    bad_batches: BadBatches = BadBatches()
    evaluate_every: int = Field(default=50, ge=1)
    validation_batches: int = Field(default=10, ge=1)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_seconds: float = Field(default=30.0, ge=0)

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
    """`init: random`, or weights to start from: a folder that `from_pretrained` reads or `models:/name/version`."""

    init: str = Field(default="random", min_length=1)


class FineTuning(Training):
    """`method: full` trains every weight. `onnx` makes `onnx/model.onnx` beside `model/`, checked by onnxruntime."""

    method: Literal["full"] = "full"
    onnx: bool = False


class Bound(Section):
    """The least and the greatest value of a metric that passes the gate."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("needs min or max")
        return self


class Comparison(Section):
    """How a model is compared with the champion: on the examples that both were measured on, pair by pair.

    `metric` is what the models are compared by. The `confidence` interval of how much better it is, from `resamples`
    bootstrap samples, must lie above zero (`superior`) or not reach below minus `margin`, a fraction of the champion's
    value (`non_inferior`). In no slice may it be worse by more than `slice_margin`. With fewer than `minimum` examples
    there is not enough evidence: the model is refused, or the `thresholds` of the gate alone decide.
    """

    rule: Literal["non_inferior", "superior"] = "non_inferior"
    margin: float = Field(default=0.01, ge=0, le=1)
    slice_margin: float = Field(default=0.05, ge=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    metric: str = "loss"
    minimum: int = Field(default=50, ge=2)
    too_few: Literal["refuse", "thresholds"] = "refuse"
    resamples: int = Field(default=10_000, ge=100, le=1_000_000)


class Evaluation(Section):
    """What every task's evaluation is asked: whether the model must beat a `baseline` that has learned next to nothing,
    and how it is compared with the champion (`none`: the thresholds of the gate alone decide).
    """

    baseline: bool = True
    gate: Section = Section()
    comparison: Comparison | None = Comparison()

    @field_validator("comparison", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        return None if value == "none" else value


class Registration(Section):
    """The name of the registered model in MLflow."""

    model: Name


class Resources(Section):
    """What a step asks of a cluster; the local runners ignore it.

    `profile` names a kind of node of the cluster's profiles file. `cpu` and `memory` beside it are instead of the
    profile's; `gpu` is for clusters without such a file, since a profile says its accelerators itself.
    """

    profile: str | None = Field(default=None, min_length=1)
    cpu: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)?m?$")
    memory: str | None = Field(default=None, pattern=r"^[0-9]+[EPTGMK]i?$")
    gpu: int = Field(default=0, ge=0, le=64)
    gpu_type: str = GPU

    @model_validator(mode="after")
    def _profile_says_the_accelerator(self) -> "Resources":
        if self.profile is not None and (self.gpu or self.gpu_type != GPU):
            raise ValueError(f"the profile {self.profile} says which accelerators the step gets; leave out gpu")
        return self


class StepResources(Section):
    """One entry a step that needs something particular."""

    data_validation: Resources = Resources()
    preprocessing: Resources = Resources()
    pretraining: Resources = Resources()
    fine_tuning: Resources = Resources()
    evaluation: Resources = Resources()
    registration: Resources = Resources()


class Recipe(Section):
    """What every task's recipe has. A task refines the sections that are its own, and says as class attributes:

    measures: what its models can be compared by, by the names that `evaluation.comparison.metric` may have.
    libraries: distributions, beyond those that its step always has, whose version may change a step's result.
    """

    name: Name
    task: str
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: Data
    preprocessing: Preparation
    model: Section | None = None
    pretraining: Pretraining | None = None
    fine_tuning: FineTuning | None = None
    evaluation: Evaluation = Evaluation()
    registration: Registration
    resources: StepResources = StepResources()

    measures: ClassVar[dict[str, Measure]] = {"loss": LOSS}
    libraries: ClassVar[dict[str, tuple[str, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        none = {stage: None for stage in STAGES if isinstance(value, dict) and value.get(stage) == "none"}
        return {**value, **none} if none else value

    @model_validator(mode="after")
    def _is_trained(self) -> "Recipe":
        if self.pretraining is None and self.fine_tuning is None:
            raise ValueError("pretraining and fine_tuning cannot both be none")
        return self

    def metric(self, is_fine_tuned: bool) -> str:
        """What a model is compared by; there is a comparison."""
        assert self.evaluation.comparison is not None
        return self.evaluation.comparison.metric
