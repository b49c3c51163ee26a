"""The distributions that new data is compared with: those of the data that the registered model was made from."""

import json
import logging
from typing import NamedTuple

from modelmill.components.data_validation.profile import Profile
from modelmill.core.errors import CorruptError
from modelmill.store import Store, manifest, references
from modelmill.store.manifest import Manifest
from modelmill.store.references import PROFILE

log = logging.getLogger("modelmill")


class ReferenceProfile(NamedTuple):
    """The profile of a registered version's data.

    Attributes:
        version: The version of the registered model.
        profile: The profile of its data.
    """

    version: str
    profile: Profile


def find(store: Store, model: str) -> ReferenceProfile | None:
    """Return the profile of the newest registered version's data.

    Returns:
        None where no version of the model is registered from this store, or where its data's profile is gone.
    """
    reference = references.find(store, model)
    try:
        profile = profile_of(store, manifest.load(store, reference.validation)) if reference else None
    except CorruptError as error:
        log.warning("drift is not measured: %s", error)
        return None
    return ReferenceProfile(reference.version, profile) if reference and profile else None


def profile_of(store: Store, validation: Manifest) -> Profile | None:
    """Return the profile in a validation's manifest, or None where it has none, as in old stores."""
    entry = next((entry for entry in validation.entries if entry.path == PROFILE), None)
    return Profile.parse(json.loads(manifest.read_entry(store, entry))) if entry else None
