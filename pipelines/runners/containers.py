"""What must be so for a recipe to run in containers, found before any work."""

import os

from modelmill.core.errors import UserError, one_line
from modelmill.core.image import image_of
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import weights
from modelmill.runtime.tracking.connection import redact
from modelmill.store import Store

_FLAG = "--runner docker"


def check(recipe: Recipe, store: Store) -> None:
    """Find what containers could not reach, and whether images are missing.

    Args:
        recipe: The resolved recipe.
        store: Where everything is kept.

    Raises:
        UserError: The store, the registry or an input is on this machine only, credentials are in a file, Docker does
            not answer, or an image is missing.
    """
    if not store.uri.startswith("s3://"):
        raise UserError(f"--store {store.uri}: containers reach no folder of this machine; with {_FLAG} give s3://")
    _check_registry()
    _check_inputs(recipe)
    _check_credentials()
    _check_images()


def _check_registry() -> None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        said = redact(uri) if uri else "not set"
        raise UserError(f"MLFLOW_TRACKING_URI is {said}: with {_FLAG} it must be the http:// address of a server")


def _check_inputs(recipe: Recipe) -> None:
    if not recipe.data.path.startswith("s3://"):
        raise UserError(
            f"data.path: {recipe.data.path} is on this machine; with {_FLAG} put the data in a bucket, s3://"
        )
    for key, source in recipe.models.items():
        if not weights.is_portable(source):
            raise UserError(
                f"{key}: {source} is a folder of this machine; with {_FLAG} bring it to store and registry, "
                f"modelmill import {source} --as NAME, and give models:/NAME/VERSION"
            )


def _check_credentials() -> None:
    """Refuse credentials in a file of this machine; those of a role are found from inside, too."""
    import boto3

    credentials = boto3.session.Session().get_credentials()
    if credentials is not None and "file" in credentials.method:
        raise UserError(
            f"the store's credentials are in a file of this machine; with {_FLAG} put them in the environment: "
            'eval "$(aws configure export-credentials --format env)"'
        )


def _check_images() -> None:
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise UserError(f"{_FLAG}: Docker does not answer ({one_line(error)[:200]}); start it") from error
    known = {tag for image in client.images.list() for tag in image.tags}
    missing = [name for name in map(image_of, STEPS) if name not in known]
    if missing:
        raise UserError(f"{_FLAG}: no image {', '.join(missing)} on this machine; build them with make images")
