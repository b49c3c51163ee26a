"""The pipeline versions that schedules run: compiled here, uploaded once under their digest."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from components.common import recipe as recipes
from components.common.errors import UserError
from pipelines.cluster.schedules import Schedule
from pipelines.cluster.settings import Cluster


class Compiled(NamedTuple):
    """A pipeline as KFP takes it."""

    name: str
    digest: str
    yaml: bytes


def compiled(schedule: Schedule, cluster: Cluster) -> Compiled:
    """Compile a schedule's recipe; equal recipes have equal digests.

    Raises:
        UserError: the recipe is wrong, or its data is on this machine.
    """
    from pipelines import dag

    recipe = recipes.load(Path(schedule.recipe), schedule.overrides)
    if "://" not in recipe.data.path:
        raise UserError(
            f"{schedule.name}: data.path {recipe.data.path} is on this machine; a cluster reads s3://, "
            "for example overrides: ['data.path=s3://bucket/folder']"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        dag.compile_to(recipe, cluster.store, str(file))
        content = file.read_bytes()
    return Compiled(recipe.name, hashlib.sha256(content).hexdigest(), content)


def upload(client: Any, what: Compiled) -> tuple[str, str]:
    """The ids of the pipeline and of its version of this digest, which are made if they are not there."""
    pipeline_id = client.get_pipeline_id(what.name)
    if pipeline_id is not None:
        version_id = _version(client, pipeline_id, what.digest)
        if version_id is not None:
            return pipeline_id, version_id
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_bytes(what.yaml)
        if pipeline_id is None:
            pipeline_id = client.upload_pipeline(str(file), pipeline_name=what.name).pipeline_id
        version = client.upload_pipeline_version(str(file), what.digest, pipeline_id=pipeline_id)
    return pipeline_id, version.pipeline_version_id


def _version(client: Any, pipeline_id: str, digest: str) -> str | None:
    token = ""
    while True:
        page = client.list_pipeline_versions(pipeline_id, page_token=token, page_size=100)
        for version in page.pipeline_versions or []:
            if version.display_name == digest:
                return str(version.pipeline_version_id)
        token = page.next_page_token or ""
        if not token:
            return None
