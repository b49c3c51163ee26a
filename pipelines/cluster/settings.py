"""The cluster file: what the command line has to know of a cluster, one a cluster, in git, without a secret."""

import os
from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import Field, ValidationError

from components.common.errors import UserError
from components.common.image import VERSION
from components.common.recipe.load import explain
from components.common.recipe.sections import Section

DEFAULT_CLUSTER = "cluster.yaml"
GPU_STEPS = ("pretraining", "fine_tuning", "evaluation")
ClusterFile = Annotated[
    Path,
    typer.Option(
        "--cluster", envvar="MODELMILL_CLUSTER", help="The file that describes the cluster.", show_default=True
    ),
]


class Kfp(Section):
    """Where the KFP API is. `ui` is what a person's browser opens, the API's own address if not given.

    A bearer token, if the server wants one, is in the environment as MODELMILL_KFP_TOKEN or in `token_file`.
    `time_zone` is the one in which KFP reads cron lines, its CRON_SCHEDULE_TIMEZONE.
    """

    host: str = Field(pattern=r"^https?://")
    ui: str | None = None
    namespace: str = "modelmill"
    experiment: str = "modelmill"
    service_account: str = "modelmill-pipeline"
    token_file: str | None = None
    time_zone: str = "UTC"


class Images(Section):
    """Images are REGISTRY/STEP:TAG, with the digest that `digests` has for STEP; `pinned` asks that it has one.

    With `gpu`, steps on GPU nodes run in the image STEP-gpu, which `make images GPU=1` builds.
    """

    registry: str = "modelmill"
    tag: str = VERSION
    digests: dict[str, Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]] = {}
    pinned: bool = False
    gpu: bool = False


class Secrets(Section):
    """Names of Kubernetes Secrets whose keys become the steps' environment variables of the same names."""

    object_store: str | None = "modelmill-object-store"
    mlflow: str | None = "modelmill-mlflow"
    notifications: str | None = None


class Cluster(Section):
    """`store` and `mlflow` are as the steps see them; `endpoint` is the store's, where it is not AWS."""

    kfp: Kfp
    store: str = Field(pattern=r"^s3://")
    endpoint: str | None = None
    region: str = "us-east-1"
    mlflow: str = Field(pattern=r"^https?://")
    images: Images = Images()
    secrets: Secrets = Secrets()
    profiles: str = "profiles.yaml"


def load(path: Path) -> Cluster:
    """Read a cluster file; `profiles` becomes absolute, relative to the file's folder.

    Raises:
        UserError: it cannot be read, a key is unknown, or a value is not what it should be.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"--cluster {path}: no such file; k8s/overlays/kind/cluster.yaml is one to copy") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--cluster {path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"--cluster {path}: a cluster file is a mapping of sections")
    try:
        cluster = Cluster.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Cluster)}") from error
    profiles = os.path.normpath(path.resolve().parent / cluster.profiles)
    return cluster.model_copy(update={"profiles": profiles})
