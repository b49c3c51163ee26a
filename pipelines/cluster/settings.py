"""The cluster file: what the command line has to know of a cluster, one a cluster, in git, without a secret."""

import difflib
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import AfterValidator, Field, ValidationError, field_validator

from modelmill.core.errors import UserError
from modelmill.core.image import VERSION
from modelmill.pipelines.cluster import files
from modelmill.recipe.load import explain
from modelmill.recipe.sections import Section
from modelmill.recipe.step_specs import STEPS

DEFAULT_CLUSTER = "cluster.yaml"
GPU_STEPS = ("pretraining", "fine_tuning", "evaluation")
IMAGES = (*(s.replace("_", "-") for s in STEPS), *(f"{s.replace('_', '-')}-gpu" for s in GPU_STEPS))
ClusterFile = Annotated[
    Path,
    typer.Option(
        "--cluster", envvar="MODELMILL_CLUSTER", help="The file that describes the cluster.", show_default=True
    ),
]


def _without_password(url: str) -> str:
    if urlsplit(url).password is not None:
        raise ValueError("has a password in it, and this file is no place for one; put it in a Secret (secrets.*)")
    return url


Url = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_without_password)]


class Kfp(Section):
    """Where the KFP API is. `ui` is what a person's browser opens, the API's own address if not given.

    A bearer token, if the server wants one, is in the environment as MODELMILL_KFP_TOKEN or in `token_file`.
    `time_zone` is the one in which KFP reads cron lines, its CRON_SCHEDULE_TIMEZONE.
    """

    host: Url
    ui: Url | None = None
    namespace: str = "modelmill"
    experiment: str = "modelmill"
    service_account: str = "modelmill-pipeline"
    token_file: str | None = None
    time_zone: str = "UTC"


class Images(Section):
    """Images are REGISTRY/STEP:TAG, with the digest that `digests` has for STEP; `pinned` asks that it has one.

    With `gpu`, steps on GPU nodes run in the image STEP-gpu, which `make images GPU=1` builds. The report's is
    registration's.
    """

    registry: str = "modelmill"
    tag: str = VERSION
    digests: dict[str, Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]] = {}
    pinned: bool = False
    gpu: bool = False

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

    object_store: str | None = "modelmill-object-store"
    mlflow: str | None = "modelmill-mlflow"
    notifications: str | None = None


class Cluster(Section):
    """`store` and `mlflow` are as the steps see them; `endpoint` is the store's, where it is not AWS."""

    kfp: Kfp
    store: str = Field(pattern=r"^s3://")
    endpoint: Url | None = None
    region: str = "us-east-1"
    mlflow: Url
    images: Images = Images()
    secrets: Secrets = Secrets()
    profiles: str = "profiles.yaml"


def load(path: Path) -> Cluster:
    """Read a cluster file; `profiles` becomes absolute, relative to the file's folder.

    Raises:
        UserError: it cannot be read, a key is unknown, or a value is not what it should be.
    """
    document = files.read(path, f"--cluster {path}", "no such file; k8s/overlays/kind/cluster.yaml is one to copy")
    if not isinstance(document, dict):
        raise UserError(f"--cluster {path}: a cluster file is a mapping of sections")
    try:
        cluster = Cluster.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Cluster)}") from error
    profiles = os.path.normpath(path.resolve().parent / cluster.profiles)
    return cluster.model_copy(update={"profiles": profiles})
