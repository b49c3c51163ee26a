"""Registered models by the names that people give them: MODEL, MODEL@ALIAS or MODEL/VERSION."""

from modelmill.champion import champion_state
from modelmill.core.errors import UserError, one_line
from modelmill.runtime import tracking
from modelmill.runtime.tracking import Version
from modelmill.runtime.tracking.aliases import ROLES
from modelmill.store import Store

CHAMPION = "champion"


def find(store: Store, asked: str) -> Version:
    """Return the version that is asked for; of a bare MODEL the champion, or else the newest that is verified.

    Args:
        store: The store.
        asked: MODEL, MODEL@ALIAS or MODEL/VERSION.

    Raises:
        UserError: There is no such model, alias or version; says which there are.
        ModelmillError: The registry does not answer.
    """
    name, chosen = split(asked.removeprefix("models:/"))
    everything = tracking.registered(store)
    where = tracking.redact(tracking.tracking_uri(store))
    if not everything:
        raise UserError(f"{asked}: nothing is registered in {where} yet; run a recipe first, or name another --store")
    mine = [version for version in everything if version.name == name]
    if not mine:
        names = ", ".join(dict.fromkeys(version.name for version in everything))
        raise UserError(f"{name}: no such model in {where}; there are: {names}")
    return pick(store, name, mine, chosen) if chosen else _default(store, name, mine)


def registered(store: Store, model: str, uri: str) -> list[Version]:
    """Return a model's versions in MLflow.

    Args:
        store: The store that it was registered from.
        model: The registered model's name.
        uri: The store as the user wrote it.

    Raises:
        UserError: There are none.
    """
    from pydantic import TypeAdapter, ValidationError

    from modelmill.recipe.sections import Name

    try:
        TypeAdapter(Name).validate_python(model)
        known = tracking.registered(store, model)
    except ValidationError:
        known = []
    if not known:
        names = ", ".join(champion_state.models(store)) or "none"
        raise UserError(f"{_shown(model)}: no model of this name is registered from {uri}; known: {names}")
    return known


def split(asked: str) -> tuple[str, str | None]:
    """Split `MODEL`, `MODEL@ALIAS` or `MODEL/VERSION` into the model and what `pick` takes."""
    name, at, alias = asked.partition("@")
    if at:
        return name, f"@{alias}"
    name, slash, version = asked.partition("/")
    return name, version if slash else None


def pick(store: Store, name: str, mine: list[Version], chosen: str) -> Version:
    """Return one of a model's versions.

    Args:
        store: The store.
        name: The registered model's name.
        mine: The model's versions.
        chosen: One of them, or `@alias`.

    Raises:
        UserError: There is no such alias or version; says which there are.
    """
    wanted = chosen
    if chosen.startswith("@"):
        named = _aliases(store, name, mine)
        if chosen[1:] not in named:
            raise UserError(f"{name}: no alias {_shown(chosen[1:])}; there are {', '.join(sorted(named)) or 'none'}")
        wanted = named[chosen[1:]]
    for one in mine:
        if one.version == wanted:
            return one
    raise UserError(no_version(name, wanted, mine))


def no_version(name: str, number: str, mine: list[Version]) -> str:
    """Return a sentence that there is no such version, and which there are.

    Args:
        name: The registered model's name.
        number: The version that was asked for.
        mine: The model's versions.
    """
    return f"{name}: no version {_shown(number)}; there are {', '.join(one.version for one in mine)}"


def _default(store: Store, name: str, mine: list[Version]) -> Version:
    named = _aliases(store, name, mine)
    champion = next((version for version in mine if version.version == named.get(CHAMPION)), None)
    verified = [version for version in mine if version.is_verified]
    if champion is None and not verified:
        raise UserError(
            f"{name}: no version is @{CHAMPION} or verified; there are: {', '.join(map(str, mine))}; "
            "run the recipe again to complete its registration"
        )
    return champion or verified[-1]


def _aliases(store: Store, name: str, mine: list[Version]) -> dict[str, str]:
    """Return the version that each alias names; those that are ours are where the store says, which MLflow follows."""
    named = {alias: one.version for one in mine for alias in one.aliases}
    now = champion_state.read(store, name)
    if now.log is None:
        return named
    ours = {role: getattr(now, role).version for role in ROLES if getattr(now, role)}
    return {alias: number for alias, number in named.items() if alias not in ROLES} | ours


def _shown(text: str) -> str:
    return one_line(Exception(text))
