"""Registered models by the names that people give them: MODEL, MODEL@ALIAS or MODEL/VERSION."""

from components.common import tracking
from components.common.errors import UserError
from components.common.store import Store
from components.common.tracking import Version

CHAMPION = "champion"


def find(store: Store, asked: str) -> Version:
    """The version that is asked for; of a bare MODEL the champion, or else the newest that is verified.

    Raises:
        UserError: there is no such model, alias or version; says which there are.
        ModelmillError: the registry does not answer.
    """
    name, mark, which = _split(asked.removeprefix("models:/"))
    everything = tracking.all_versions(store)
    where = tracking.redact(tracking.tracking_uri(store))
    if not everything:
        raise UserError(f"{asked}: nothing is registered in {where} yet; run a recipe first, or name another --store")
    mine = [version for version in everything if version.name == name]
    if not mine:
        names = ", ".join(dict.fromkeys(version.name for version in everything))
        raise UserError(f"{name}: no such model in {where}; there are: {names}")
    if mark == "/":
        found = next((version for version in mine if version.version == which), None)
    elif mark == "@":
        found = next((version for version in mine if which in version.aliases), None)
    else:
        return _default(name, mine)
    if found is None:
        kind = "version" if mark == "/" else "alias"
        raise UserError(f"{asked}: no such {kind} in {where}; there are: {_known(mine)}")
    return found


def _default(name: str, mine: list[Version]) -> Version:
    champion = next((version for version in mine if CHAMPION in version.aliases), None)
    verified = [version for version in mine if version.is_verified]
    if champion is None and not verified:
        raise UserError(
            f"{name}: no version is @{CHAMPION} or verified; there are: {_known(mine)}; "
            "run the recipe again to complete its registration"
        )
    return champion or verified[-1]


def _split(asked: str) -> tuple[str, str, str]:
    """Name, mark and what comes after it."""
    for mark in ("@", "/"):
        name, found, which = asked.rpartition(mark)
        if found:
            return name, mark, which
    return asked, "", ""


def _known(mine: list[Version]) -> str:
    return ", ".join(
        " ".join([f"{version.name}/{version.version}", *(f"@{alias}" for alias in version.aliases)]) for version in mine
    )
