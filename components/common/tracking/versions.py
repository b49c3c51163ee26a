"""The versions of a model in MLflow's registry, and what their tags say of them."""

from typing import Any, NamedTuple

from components.common.standing import Candidate
from components.common.store import Store
from components.common.tracking.connection import client, is_created

# What a version of ours was made from; that each of its files was read back; the newest entry of the log of decisions
# when it became the champion.
KEY, VERIFIED, WITNESS = "modelmill.key", "modelmill.verified", "modelmill.log"
MODEL, EVALUATION = "modelmill.model", "modelmill.evaluation"
_PAGE = 200


class ModelVersion(NamedTuple):
    """A registered version and the aliases that name it now; `created` is in seconds since 1970."""

    number: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created: float

    @property
    def is_verified(self) -> bool:
        return self.tags.get(VERIFIED) == "true"

    @property
    def candidate(self) -> Candidate | None:
        """None for a version that is not ours."""
        if MODEL not in self.tags or EVALUATION not in self.tags:
            return None
        return Candidate(version=self.number, model=self.tags[MODEL], evaluation=self.tags[EVALUATION])


def registered(store: Store, model: str) -> list[ModelVersion]:
    """The model's versions, oldest first; none where nothing is registered under this name.

    Raises:
        ModelmillError: the registry does not answer.
    """
    if not is_created(store):
        return []
    with client(store) as mlflow_client:
        from mlflow.exceptions import MlflowException

        try:
            aliases = mlflow_client.get_registered_model(model).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise
        found = _all(mlflow_client, model)
    return [
        ModelVersion(
            number=str(one.version),
            aliases=tuple(sorted(name for name, version in aliases.items() if str(version) == str(one.version))),
            tags=dict(one.tags),
            created=one.creation_timestamp / 1000,
        )
        for one in sorted(found, key=lambda one: int(one.version))
    ]


def _all(mlflow_client: Any, model: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = mlflow_client.search_model_versions(f"name = '{model}'", max_results=_PAGE, page_token=token)
        found += page
        if not (token := page.token):
            return [one for one in found if one.status == "READY"]
