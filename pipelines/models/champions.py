"""Which version a person makes the champion, and MLflow's aliases, which follow."""

from modelmill.champion import champion_state, promotion
from modelmill.champion.champion_state import Candidate
from modelmill.champion.promotion import Settled
from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.models import versions
from modelmill.runtime import tracking
from modelmill.runtime.tracking import Version
from modelmill.store import Store, check_conditional_writes


def promote(store: Store, model: str, known: list[Version], number: str, reason: str) -> Settled:
    """Make a version the champion.

    Args:
        store: Where the champion is recorded.
        model: The registered model's name.
        known: The model's versions.
        number: The version to promote.
        reason: Why, for the log of decisions.

    Raises:
        UserError: The version may not become the champion.
        ModelmillError: It is the champion, but MLflow's aliases could not be moved.
    """
    candidate = verified(model, known, number)
    check_conditional_writes(store)
    settled = promotion.appoint(store, model, candidate, reason)
    follow(store, model)
    return settled


def roll_back(store: Store, model: str, known: list[Version], number: str | None, reason: str) -> Settled:
    """Put an earlier version back in the champion's place.

    Args:
        store: Where the champion is recorded.
        model: The registered model's name.
        known: The model's versions.
        number: The version to go back to; None for the previous champion.
        reason: Why, for the log of decisions.

    Raises:
        UserError: There is no champion, or no version to go back to.
        ModelmillError: It is rolled back, but MLflow's aliases could not be moved.
    """
    now = champion_state.read(store, model)
    if now.champion is None:
        raise UserError(f"{model}: no champion to roll back from; modelmill promote {model} VERSION makes one")
    others = [one.version for one in known if one.is_verified and one.version != now.champion.version]
    choices = f"verified are {', '.join(others)}" if others else "no other version is verified"
    target = verified(model, known, number) if number is not None else now.previous
    if target is None:
        raise UserError(f"{model}: no previous champion to go back to; name a version with --to ({choices})")
    if target.version == now.champion.version:
        raise UserError(f"{model}: version {target.version} is the champion already; {choices}")
    verified(model, known, target.version)
    check_conditional_writes(store)
    settled = promotion.roll_back(store, model, now, target, reason)
    follow(store, model)
    return settled


def verified(model: str, known: list[Version], number: str) -> Candidate:
    """Return a version as a candidate for champion.

    Args:
        model: The registered model's name.
        known: The model's versions.
        number: The version.

    Raises:
        UserError: The version may not become the champion.
    """
    version = next((one for one in known if one.version == number), None)
    if version is None:
        raise UserError(versions.no_version(model, number, known))
    choices = ", ".join(one.version for one in known if one.is_verified and one.candidate) or "none"
    if version.candidate is None:
        raise UserError(f"{model}: version {number} was not registered by Modelmill; verified are {choices}")
    if not version.is_verified:
        raise UserError(f"{model}: version {number} was never verified; verified are {choices}")
    return version.candidate


def follow(store: Store, model: str) -> list[str]:
    """Point MLflow's aliases to where the store says, and return what changed, a line each.

    Raises:
        ModelmillError: MLflow does not answer or refuses.
    """
    try:
        with tracking.client(store) as client:
            return tracking.follow(client, store, model)
    except ModelmillError as error:
        # Not the same command again: what was decided is decided.
        raise ModelmillError(
            f"{model}: MLflow's aliases are not where the store says ({one_line(error).removesuffix(tracking.AGAIN)}); "
            f"put that right, then modelmill registry repair {model}"
        ) from error
