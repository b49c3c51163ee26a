"""Looks for changed data itself, every so often: an event can be lost, and a server can be down when it comes."""

from modelmill.core.errors import ModelmillError, UserError
from modelmill.pipelines.trigger import claims
from modelmill.pipelines.trigger.asking import Answer, Starter
from modelmill.pipelines.trigger.claims import Asker
from modelmill.pipelines.trigger.cool_down import CoolingDown
from modelmill.recipe import Recipe
from modelmill.store import KeyNotFound, Store

BY = "reconciler"


class Reconciler:
    """Watcher of data: compares each recipe's with those of the last look.

    The store keeps the digests as `triggers/seen/NAME`. The first look at a recipe starts nothing: what is there then
    is what changes are measured against.
    """

    def __init__(self, starter: Starter) -> None:
        """Ask a starter for runs."""
        self._starter, self._store = starter, starter.store
        self._last: dict[str, str] = {}

    def look(self, recipe: Recipe) -> Answer | None:
        """Ask for a run if the data have changed and hold still; return None if there was nothing to ask for.

        Raises:
            CoolingDown: As `Starter.ask`; the next look asks again.
            UserError: As `Starter.ask`.
        """
        want = claims.wanted(recipe, self._store)
        seen = _seen(self._store, recipe.name)
        if seen is None:
            self._note(recipe.name, want.data_digest)
        if seen is None or seen == want.data_digest or self._moves(recipe.name, want.data_digest):
            return None
        asker = Asker(by=BY, kind="poll", reason=f"the data changed, {seen[:12]} to {want.data_digest[:12]}")
        answer = self._starter.ask(recipe, asker, want=want)
        if answer.run_id is not None:
            self._note(recipe.name, want.data_digest)
        return answer

    def _moves(self, name: str, data_digest: str) -> bool:
        """Return whether the data are still being written: other than at this reconciler's last look."""
        before, self._last[name] = self._last.get(name), data_digest
        return before != data_digest

    def _note(self, name: str, data_digest: str) -> None:
        self._store.put(_key(name), data_digest.encode())


def look_at_all(reconciler: Reconciler, recipes: list[Recipe]) -> tuple[list[Answer], list[ModelmillError]]:
    """Look at each recipe once; return the answers, and what went wrong, one that cools down not included."""
    answers: list[Answer] = []
    problems: list[ModelmillError] = []
    for recipe in recipes:
        try:
            answer = reconciler.look(recipe)
        except CoolingDown:
            continue
        except ModelmillError as error:
            problems.append(type(error)(f"{recipe.name}: {error}") if type(error) is UserError else error)
            continue
        if answer is not None:
            answers.append(answer)
    return answers, problems


def _seen(store: Store, name: str) -> str | None:
    try:
        return store.get(_key(name)).decode()
    except KeyNotFound:
        return None


def _key(name: str) -> str:
    return f"triggers/seen/{name}"
