"""The versions in MLflow's registry, and their tags."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from modelmill.champion.champion_state import Candidate
from modelmill.runtime.tracking.connection import client, is_created
from modelmill.store import Store

# What a version of ours was made from; that each of its files was read back; the newest entry of the log of decisions
# when it became the champion.
KEY, VERIFIED, WITNESS = "modelmill.key", "modelmill.verified", "modelmill.log"
# The sha256 of each file of the package that is not the model's, by its path: JSON.
PACKAGE = "modelmill.package"
MODEL, EVALUATION = "modelmill.model", "modelmill.evaluation"
# Where a base model was imported from; its files are in the store alone.
IMPORTED = "modelmill.imported"
_PAGE = 200


class Version(NamedTuple):
    """A version in the registry.

    Attributes:
        name: Name of the registered model.
        version: Number of the version.
        aliases: Aliases that name it now.
        tags: Tags of the version.
        created: Time in seconds since 1970.
    """

    name: str
    version: str
    aliases: list[str]
    tags: dict[str, str]
    created: float

    @property
    def is_verified(self) -> bool:
        """Whether registration has read every file of it back; False also for a version that others registered."""
        return self.tags.get(VERIFIED) == "true"

    @property
    def imported_from(self) -> str | None:
        """The source of a base model that was imported; None for other versions."""
        return self.tags.get(IMPORTED)

    @property
    def candidate(self) -> Candidate | None:
        """The version as a candidate for the champion's place, None for one that is not ours."""
        if MODEL not in self.tags or EVALUATION not in self.tags:
            return None
        return Candidate(version=self.version, model=self.tags[MODEL], evaluation=self.tags[EVALUATION])

    def __str__(self) -> str:
        """Return name, version and aliases."""
        return " ".join([f"{self.name} version {self.version}", *(f"@{alias}" for alias in self.aliases)])


def registered(store: Store, model: str | None = None) -> list[Version]:
    """Return the versions of a model, or of every model, by name and from the oldest to the newest.

    Args:
        store: The run's store.
        model: Name of the registered model; None for all.

    Raises:
        UserError: No registry is configured.
        ModelmillError: It does not answer.
    """
    if not is_created(store):
        return []
    wanted = f"name = '{model}'" if model else None
    with client(store) as mlflow_client:
        models = _pages(partial(mlflow_client.search_registered_models, wanted, max_results=_PAGE))
        versions = _pages(partial(mlflow_client.search_model_versions, wanted, max_results=_PAGE))
    aliases = {one.name: {alias: str(number) for alias, number in one.aliases.items()} for one in models}
    made = [
        Version(
            name=one.name,
            version=str(one.version),
            aliases=sorted(a for a, number in aliases.get(one.name, {}).items() if number == str(one.version)),
            tags=dict(one.tags),
            created=one.creation_timestamp / 1000,
        )
        for one in versions
        if one.status == "READY"
    ]
    return sorted(made, key=lambda one: (one.name, int(one.version)))


def _pages(search: Callable[..., Any]) -> list[Any]:
    """Return everything that a search of MLflow finds, page by page."""
    items: list[Any] = []
    token = None
    while True:
        page = search(page_token=token)
        items += page
        if not (token := page.token):
            return items
