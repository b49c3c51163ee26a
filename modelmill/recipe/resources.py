"""The section `resources`: what steps ask of a cluster."""

from pydantic import Field, model_validator

from modelmill.recipe.section import GPU, Section


class Resources(Section):
    """What a step asks of a cluster; local runs ignore it."""

    profile: str | None = Field(
        default=None,
        min_length=1,
        description="Kind of node, by its name in the profiles file; null is the cluster's default.",
    )
    cpu: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)?m?$",
        description='CPUs, such as "2" or 500m; null takes those of the profile.',
    )
    memory: str | None = Field(
        default=None,
        pattern=r"^[0-9]+[EPTGMK]i?$",
        description="Memory, such as 4Gi; null takes that of the profile.",
    )
    gpu: int = Field(default=0, ge=0, le=64, description="Accelerators, without a profile; a profile says its own.")
    gpu_type: str = Field(default=GPU, description="Kubernetes resource that the accelerators are, without a profile.")

    @model_validator(mode="after")
    def _profile_says_the_accelerator(self) -> "Resources":
        if self.profile is not None and (self.gpu or self.gpu_type != GPU):
            raise ValueError(f"the profile {self.profile} says which accelerators the step gets; leave out gpu")
        return self


class StepResources(Section):
    """What each step asks of a cluster."""

    data_validation: Resources = Field(default=Resources(), description="Resources of data validation.")
    preprocessing: Resources = Field(default=Resources(), description="Resources of preprocessing.")
    pretraining: Resources = Field(default=Resources(), description="Resources of pretraining.")
    fine_tuning: Resources = Field(default=Resources(), description="Resources of fine-tuning.")
    evaluation: Resources = Field(default=Resources(), description="Resources of evaluation.")
    registration: Resources = Field(default=Resources(), description="Resources of registration.")
