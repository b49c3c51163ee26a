"""The cluster file: what the command line has to know of a cluster, one a cluster, in git, without a secret."""

import difflib
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, field_validator

from modelmill.core.errors import UserError
from modelmill.core.image import VERSION
from modelmill.pipelines.cluster import files
from modelmill.recipe.load import explain
from modelmill.recipe.sections import Section
from modelmill.recipe.step_specs import STEPS

_OF_KEYS = re.compile(r": (unknown key|this key is needed)")
_RELEASE = re.compile(r"v?(\d+\.\d+\.\d+)")
GPU_STEPS = ("pretraining", "fine_tuning", "evaluation")
IMAGES = (*(s.replace("_", "-") for s in STEPS), *(f"{s.replace('_', '-')}-gpu" for s in GPU_STEPS))


def _without_password(url: str) -> str:
    if urlsplit(url).password is not None:
        raise ValueError("has a password in it, and this file is no place for one; put it in a Secret (secrets.*)")
    return url


Url = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_without_password)]


class Kfp(Section):
    """Where Kubeflow Pipelines is, and how runs are started there.

    A bearer token, if the server wants one, is in the environment as MODELMILL_KFP_TOKEN or in `token_file`.
    """

    host: Url = Field(description="Address of the KFP API.")
    ui: Url | None = Field(default=None, description="Address that a person's browser opens; null is `host`.")
    namespace: str = Field(default="modelmill", description="Kubernetes namespace of the runs.")
    experiment: str = Field(default="modelmill", description="KFP experiment that the runs are listed in.")
    service_account: str = Field(default="modelmill-pipeline", description="Service account that steps run as.")
    token_file: str | None = Field(
        default=None,
        description="File with a bearer token; null takes `MODELMILL_KFP_TOKEN` of the environment, if it is there.",
    )
    time_zone: str = Field(
        default="UTC", description="Time zone in which KFP reads cron lines: its `CRON_SCHEDULE_TIMEZONE`."
    )


class Images(Section):
    """The images that steps run in, `REGISTRY/STEP:TAG`; STEP has hyphens.

    With `gpu`, steps on GPU nodes run in the image STEP-gpu, which `make images GPU=1` builds. The report's image is
    that of registration.
    """

    registry: str = Field(default="modelmill", description="Registry, or prefix, of the images.")
    tag: str = Field(default=VERSION, description="Tag of the images; the version of Modelmill by default.")
    digests: dict[str, Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]] = Field(
        default={},
        description="Digest of an image by its name, such as `data-validation: sha256:...` or `pretraining-gpu: "
        "sha256:...`.",
    )
    pinned: bool = Field(default=False, description="Whether an image without a digest is refused.")
    immutable: bool = Field(
        default=False,
        description="Whether a tag always names the same image, as a digest does: then steps that are known to be "
        "finished are left out of a run.",
    )
    gpu: bool = Field(
        default=False,
        description="Whether the images `pretraining-gpu`, `fine-tuning-gpu` and `evaluation-gpu` are there.",
    )

    @field_validator("digests")
    @classmethod
    def _are_of_images(cls, digests: dict[str, str]) -> dict[str, str]:
        for name in digests:
            if name not in IMAGES:
                near = difflib.get_close_matches(name, IMAGES, n=1)
                raise ValueError(f"no image {name!r}; " + (f"did you mean {near[0]!r}?" if near else ", ".join(IMAGES)))
        return digests


class Secrets(Section):
    """Names of Kubernetes Secrets whose keys become the steps' environment variables of the same names."""

    object_store: str | None = Field(
        default="modelmill-object-store", description="Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`."
    )
    mlflow: str | None = Field(
        default="modelmill-mlflow",
        description="Secret with `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.",
    )
    hub: str | None = Field(
        default=None,
        description="Secret with `HF_TOKEN` and, of a hub of your own, `HF_ENDPOINT`, for the steps that read `hf://`.",
    )
    notifications: str | None = Field(
        default=None, description="Secret with `MODELMILL_NOTIFY_*` and `MODELMILL_SMTP_*`, for the report alone."
    )


class Cluster(Section):
    """A cluster, as the command line has to know it."""

    kfp: Kfp = Field(description="Where Kubeflow Pipelines is, and how runs are started there.")
    store: str = Field(pattern=r"^s3://", description="Object store of all runs, `s3://BUCKET/PREFIX`.")
    endpoint: Url | None = Field(default=None, description="Address of the store as steps see it; null is AWS.")
    region: str = Field(default="us-east-1", description="Region of the store.")
    mlflow: Url = Field(description="Address of the MLflow server as steps see it.")
    images: Images = Field(default=Images(), description="Images that steps run in.")
    secrets: Secrets = Field(default=Secrets(), description="Kubernetes Secrets that steps get their credentials from.")
    profiles: str = Field(default="profiles.yaml", description="Profiles file, relative to this one.")


def load(path: Path) -> Cluster:
    """Return the cluster of a file; its `profiles` is absolute.

    Args:
        path: File to read; a relative `profiles` starts at its folder.

    Raises:
        UserError: It cannot be read, a key is unknown, or a value is not what it should be.
    """
    document = files.read(path, f"--cluster {path}", "no such file; k8s/overlays/kind/cluster.yaml is one to copy")
    if not isinstance(document, dict):
        raise UserError(f"--cluster {path}: a cluster file is a mapping of sections")
    try:
        cluster = Cluster.model_validate(document)
    except ValidationError as error:
        said = explain(error, Cluster)
        # A file for another version has keys that this one does not know, or lacks one that it needs.
        other = f"; docs/cluster.md has the keys of this version, {VERSION}" if _OF_KEYS.search(said) else ""
        raise UserError(f"{path}: {said}{other}") from error
    profiles = os.path.normpath(path.resolve().parent / cluster.profiles)
    return cluster.model_copy(update={"profiles": profiles})


def other_version(cluster: Cluster) -> str | None:
    """Return a warning where the images' tag is another version of Modelmill than this one.

    Args:
        cluster: The cluster.
    """
    release = _RELEASE.fullmatch(cluster.images.tag)
    if release is None or release[1] == VERSION:
        return None
    return (
        f"images.tag: {cluster.images.tag}, and this is Modelmill {VERSION}: steps would run other code than "
        f"the pipeline is compiled with; set it to {VERSION}, or pip install modelmill=={release[1]}"
    )
