"""What a submission needs of a cluster, checked one by one, so that a person learns all of it at once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import (
    DEFAULT_SCHEDULES,
    applying,
    buckets,
    inside,
    kubernetes_checks,
    needed_versions,
    placement,
    reach,
)
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import profiles as profile_files
from modelmill.pipelines.cluster.api_server import ApiServer
from modelmill.pipelines.cluster.settings import Cluster, load, other_version
from modelmill.recipe.step_specs import STEPS

_SECONDS = 5.0
Check = Callable[[], str]


def checks_of(file: Path, recipe: Path | None, overrides: list[str] | None) -> dict[str, Check]:
    """Return the checks in order, by name; each returns what is well or raises a ModelmillError.

    Where the file cannot be read that is the only one, and what needs KFP is asked only where KFP answers.

    Args:
        file: The cluster's file.
        recipe: A recipe to check as well.
        overrides: Keys of the recipe, each as --set takes it.
    """
    try:
        cluster = load(file)
    except UserError:
        return {"file": lambda: str(load(file))}
    of_kubernetes, api = kubernetes_checks.checks_of(cluster)
    checks: dict[str, Check] = {
        "file": lambda: f"{file}: KFP at {cluster.kfp.host}, store {cluster.store}, MLflow at {cluster.mlflow}",
        "profiles": lambda: ", ".join(sorted(profile_files.load(cluster.profiles).profiles)) or "none",
        "images": lambda: _images(cluster),
        **_kfp_checks(cluster, file),
        **of_kubernetes,
        "store": lambda: _store(cluster),
        "buckets": lambda: buckets.check(cluster, api),
        "mlflow": lambda: _mlflow(cluster),
    }
    if recipe is not None:
        checks["recipe"] = lambda: _recipe(cluster, recipe, overrides)
    return checks


def found_inside(file: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield what a pod finds in the cluster: a name, whether it holds, and what it says.

    Args:
        file: The cluster's file.

    Raises:
        UserError: The file cannot be read, or the cluster refuses the pod.
        ModelmillError: The API server cannot be asked, or the pod does not start.
    """
    cluster, api = load(file), ApiServer()
    kubernetes_checks.require_kfp(api, cluster)
    yield from inside.findings(cluster, api)


def _kfp_checks(cluster: Cluster, file: Path) -> dict[str, Check]:
    answered: list[str] = []

    def answers() -> str:
        token = clients.token_of(cluster)
        with clients.explained(cluster, token):
            answered.append(clients.ask_version(cluster, token))
        return f"{cluster.kfp.host} answers"

    def behind(check: Check) -> Check:
        def checked() -> str:
            if not answered:
                raise UserError("not asked, for KFP does not answer; see kfp")
            return check()

        return checked

    def version() -> str:
        clients.check_version(cluster, answered[0])
        needed_versions.require_known(answered[0])
        return answered[0] if answered[0] != "unknown" else "the server does not say; its API is the one needed"

    checks = {
        "token": lambda: _token(cluster),
        "kfp": answers,
        "version": behind(version),
        "namespace": behind(lambda: _namespace(cluster)),
    }
    if DEFAULT_SCHEDULES.exists():
        checks["schedules"] = lambda: _schedules(file, bool(answered))
    return checks


def _schedules(file: Path, answers: bool) -> str:
    """Check the lines, zones and recipes; that the cluster has something else is reported, and is no mistake."""
    goal = applying.read(DEFAULT_SCHEDULES, file)
    count = len({one.schedule for one in goal.wanted})
    well = f"{DEFAULT_SCHEDULES}: {count} {'schedule is' if count == 1 else 'schedules are'} well"
    if not answers:
        return f"{well}; not compared, for KFP does not answer"
    due = sorted({f"{one.action} {one.schedule}" for one in applying.differences(goal)})
    if not due:
        return f"{well}, and the cluster agrees"
    return f"{well}; the cluster differs: {', '.join(due)}; modelmill schedule apply --cluster {file} makes it agree"


def _images(cluster: Cluster) -> str:
    images = cluster.images
    names = [step.replace("_", "-") for step in STEPS]
    bare = [name for name in names if name not in images.digests]
    if images.pinned and bare:
        raise UserError(
            f"images.digests: none for {', '.join(bare)}, and images.pinned asks for one each; `docker push` prints it"
        )
    pinned = "all by digest" if not bare else f"tag {images.tag}, not all by digest (images.pinned is false)"
    other = other_version(cluster)
    return f"{images.registry}: {pinned}" + (f"; warning: {other}" if other else "")


def _token(cluster: Cluster) -> str:
    """Return where the token is from, never what it is."""
    if clients.token_of(cluster) is None:
        return f"none; {clients.TOKEN_VARIABLE} or kfp.token_file gives one, where the server wants it"
    in_environment = os.environ.get(clients.TOKEN_VARIABLE, "").strip()
    return f"from {clients.TOKEN_VARIABLE if in_environment else cluster.kfp.token_file}"


def _namespace(cluster: Cluster) -> str:
    """Check that the token, if any, may list experiments there."""
    name, namespace = cluster.kfp.experiment, cluster.kfp.namespace
    with clients.connected(cluster) as client:
        experiment = clients.named(client.list_experiments, "experiments", name, namespace=namespace)
    return f"{namespace}: experiment {name} {'is there' if experiment else 'will be made by the first submit'}"


def _store(cluster: Cluster) -> str:
    reach.require_seen_by_steps(cluster)
    store, said = reach.store_of(cluster)
    if store is None:
        raise UserError(f"{cluster.store}: submit and schedule apply write recipes there, and cannot from here: {said}")
    store.check()
    return f"{said}: written, read back, conditional writes hold"


def _mlflow(cluster: Cluster) -> str:
    """Check that MLflow answers, where it can be asked from here; /health asks for no password."""
    import urllib3

    try:
        answer = urllib3.PoolManager().request(
            "GET", f"{cluster.mlflow.rstrip('/')}/health", timeout=_SECONDS, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError:
        return f"{cluster.mlflow}: not checked: not reachable from here"
    if answer.status == 403:
        raise UserError(f"{cluster.mlflow}: answers 403; MLFLOW_SERVER_ALLOWED_HOSTS must list this name with its port")
    if answer.status >= 400:
        raise UserError(f"{cluster.mlflow}: answers {answer.status} to /health; is it MLflow's address?")
    return f"{cluster.mlflow} answers"


def _recipe(cluster: Cluster, path: Path, overrides: list[str] | None) -> str:
    recipe = recipes.load(path, overrides)
    placement.check(recipe, cluster, profile_files.load(cluster.profiles))
    return f"{recipe.name}: every step has a place"
