"""Where each step of a pipeline runs on a cluster, in which image, and with what around it."""

import re
from typing import TYPE_CHECKING, Any

from modelmill.core.errors import UserError
from modelmill.core.machine import IMAGE_VARIABLE
from modelmill.pipelines.cluster import profiles as profile_files
from modelmill.pipelines.cluster import reach, training_nodes
from modelmill.pipelines.cluster.profiles import Accelerator, Profile, Profiles, Toleration
from modelmill.pipelines.cluster.settings import GPU_STEPS, Cluster
from modelmill.recipe import Recipe
from modelmill.recipe.sections import Resources, Training
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import node as nodes
from modelmill.runtime import weights
from modelmill.runtime.pods.explaining import PROFILE_LABEL, STEP_LABEL
from modelmill.runtime.preemption import GRACE_VARIABLE

if TYPE_CHECKING:
    from modelmill.pipelines.dag import Finished

USER = 10001
# The PriorityClasses of k8s/base: of a run that a person waits for, and of one that begins by itself.
INTERACTIVE, SCHEDULED = "modelmill-interactive", "modelmill-scheduled"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
A_YEAR = f"{365 * 24 * 3600}s"
OBJECT_STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
HUB_KEYS = ("HF_TOKEN", "HF_ENDPOINT")
# The steps that read weights or a tokenizer from elsewhere.
HUB_STEPS = ("preprocessing", "pretraining")
NOTIFICATION_KEYS = (
    *(f"MODELMILL_NOTIFY_{name}" for name in ("ON", "WEBHOOK", "SECRET", "SLACK", "EMAIL_TO")),
    *(f"MODELMILL_SMTP_{name}" for name in ("HOST", "PORT", "USER", "PASSWORD", "FROM")),
)


def compile_for(
    recipe: Recipe,
    cluster: Cluster,
    path: str,
    if_changed: bool = False,
    priority: str = INTERACTIVE,
    default: str | None = None,
    finished: "Finished | None" = None,
) -> None:
    """Write the recipe's pipeline as KFP IR YAML for a cluster.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        path: The file to write.
        if_changed: Look for new data first, as in `dag.build`.
        priority: PriorityClass of steps whose profile names none.
        default: Key of the recipe that a run takes which is given none, as in `dag.compile_to`.
        finished: Steps that are known to be finished, as in `dag.compile_to`.

    Raises:
        UserError: As `check`, and as reading the profiles.
    """
    from modelmill.pipelines import dag

    profiles = profile_files.load(cluster.profiles)
    check(recipe, cluster, profiles)
    place = placer(recipe, cluster, profiles, priority)
    dag.compile_to(recipe, cluster.store, path, place, if_changed, default, finished)


def check(recipe: Recipe, cluster: Cluster, profiles: Profiles) -> None:
    """Find what can be found wrong with a recipe on a cluster before anything is compiled.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        profiles: The cluster's kinds of nodes.

    Raises:
        UserError: A profile is unknown, a step has no image for its accelerator, an image has no digest where one is
            asked for, the recipe names files of this machine, or the cluster's addresses are this machine's.
    """
    reach.require_seen_by_steps(cluster)
    for step in STEPS:
        _check_profile(step, getattr(recipe.resources, step), cluster, profiles)
        _check_sizes(step, recipe, profile_of(step, recipe, profiles))
    for step in (*STEPS, "reporting"):
        name = image_name(step, profile_of(step, recipe, profiles))
        if cluster.images.pinned and name not in cluster.images.digests:
            raise UserError(
                f"images.digests: none for {name}, and images.pinned asks for one; `docker push` prints it, or set "
                "images.pinned: false"
            )
    _check_paths(recipe)


def profile_of(step: str, recipe: Recipe, profiles: Profiles) -> Profile:
    """Return what a step runs with: its profile with the recipe's own figures, or the recipe's request without one.

    Args:
        step: The step's name.
        recipe: The resolved recipe.
        profiles: The cluster's kinds of nodes.
    """
    asked: Resources = getattr(recipe.resources, step, Resources())
    name = profile_name(step, recipe, profiles)
    profile = profiles.profiles[name] if name else Profile()
    own: dict[str, Any] = {key: value for key in ("cpu", "memory") if (value := getattr(asked, key))}
    if asked.gpu:
        own["accelerator"] = Accelerator(type=asked.gpu_type, count=asked.gpu)
        own["tolerations"] = [Toleration(key=asked.gpu_type)]
    return profile.model_copy(update=own)


def profile_name(step: str, recipe: Recipe, profiles: Profiles) -> str | None:
    """Return the name of the profile that a step runs with; None where it has none.

    Args:
        step: The step's name.
        recipe: The resolved recipe.
        profiles: The cluster's kinds of nodes.
    """
    asked: Resources = getattr(recipe.resources, step, Resources())
    return asked.profile or (None if asked.gpu else profiles.default)


def image_name(step: str, profile: Profile) -> str:
    """Return the name of a step's image: a GPU image with an accelerator, and registration's for the report.

    Args:
        step: The step's name.
        profile: What the step runs with.
    """
    name = "registration" if step == "reporting" else step.replace("_", "-")
    return f"{name}-gpu" if profile.accelerator else name


def image_of(step: str, profile: Profile, cluster: Cluster) -> str:
    """Return a step's image in full, such as `registry:5000/modelmill/pretraining-gpu:0.1.0@sha256:...`.

    Args:
        step: The step's name.
        profile: What the step runs with.
        cluster: The cluster.
    """
    name, images = image_name(step, profile), cluster.images
    digest = images.digests.get(name)
    return f"{images.registry}/{name}:{images.tag}" + (f"@{digest}" if digest else "")


def placer(recipe: Recipe, cluster: Cluster, profiles: Profiles, priority: str) -> Any:
    """Return the function that `dag.build` calls for each task.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        profiles: The cluster's kinds of nodes.
        priority: PriorityClass of steps whose profile names none.
    """

    def place(task: Any, step: str) -> None:
        profile = profile_of(step, recipe, profiles)
        profile = profile.model_copy(update={"priority": profile.priority or priority})
        # Also a step that only waits runs in its nodes' image: one code makes the key and the result.
        image = image_of(step, profile, cluster)
        environment = environment_of(image, cluster)
        if profile.grace:
            environment[GRACE_VARIABLE] = str(profile_files.seconds(profile.grace))
        labels = _labels(step, profile, profile_name(step, recipe, profiles))
        if nodes.are_wanted(step, recipe):
            node = training_nodes.node(profile, profiles, labels)
            environment[nodes.VARIABLE] = node.model_dump_json(exclude_defaults=True)
            profile = training_nodes.waiting(profile, profiles)
        task.set_container_image(image)
        _give(task, profile)
        _choose_nodes(task, profile, profiles)
        _surround(task, step, profile, cluster, labels)
        for name, value in environment.items():
            task.set_env_variable(name, value)

    return place


def _check_profile(step: str, asked: Resources, cluster: Cluster, profiles: Profiles) -> None:
    if asked.profile is not None and asked.profile not in profiles.profiles:
        where = f"resources.{step}.profile"
        raise UserError(f"{where}: {cluster.profiles} has {profile_files.unknown(asked.profile, profiles)}")
    chosen = asked.profile or (None if asked.gpu else profiles.default)
    if not (profiles.profiles[chosen].accelerator if chosen else asked.gpu):
        return
    what = f"resources.{step}: {f'profile {chosen} has' if chosen else 'gpu asks for'} an accelerator"
    if step not in GPU_STEPS:
        raise UserError(f"{what}, and the step's image uses none; {', '.join(GPU_STEPS)} have images that do")
    if not cluster.images.gpu:
        raise UserError(
            f"{what}, and the cluster file has images.gpu: false; make images GPU=1 builds the images that use it"
        )


def _check_sizes(step: str, recipe: Recipe, profile: Profile) -> None:
    """Compare the recipe's own figures with the profile's."""
    training = getattr(recipe, step, None)
    devices = training.devices if isinstance(training, Training) else 0
    if profile.accelerator and devices > profile.accelerator.count:
        raise UserError(f"{step}.devices: {devices}, and resources.{step} gives the step {profile.accelerator.count}")
    if profile.shm and profile.memory and profile_files.size(profile.shm) >= profile_files.size(profile.memory):
        raise UserError(f"resources.{step}.memory: {profile.memory} has to hold the profile's shm, {profile.shm}, too")


def _check_paths(recipe: Recipe) -> None:
    """Refuse files of this machine, which a cluster does not see."""
    if not recipe.data.path.startswith("s3://"):
        raise UserError(f"data.path: {recipe.data.path} is on this machine; a cluster reads s3://BUCKET/PREFIX")
    for key, value in recipe.models.items():
        if not weights.is_portable(value):
            raise UserError(
                f"{key}: {value} is on this machine; bring it to the cluster's store and registry with "
                f"modelmill import {value} --as NAME, then write models:/NAME/VERSION"
            )


def _give(task: Any, profile: Profile) -> None:
    """Give a task CPU, memory, accelerators, and another attempt after a failure or a lost node.

    Argo counts KFP's `backoff_max_duration` (an hour if not given) from the start of the first attempt: a node lost in
    the second hour would end the run. And it never caps the wait, which doubled twenty times is years; so it is even.
    """
    if profile.cpu:
        task.set_cpu_limit(profile.cpu)
    if profile.memory:
        task.set_memory_limit(profile.memory)
    if profile.accelerator:
        task.set_accelerator_type(profile.accelerator.type).set_accelerator_limit(profile.accelerator.count)
    task.set_retry(profile.retries, f"{profile_files.seconds(profile.backoff)}s", 1.0, A_YEAR)


def _choose_nodes(task: Any, profile: Profile, profiles: Profiles) -> None:
    """Restrict a task to the nodes that will do.

    Kubernetes takes a node that meets any one of the required terms, and every call makes a term: so what must hold
    is one call, and the nodes of accelerators are ruled out in it.
    """
    from kfp import kubernetes

    for label, value in profile.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    if conditions := training_nodes.required(profile, profiles):
        kubernetes.add_node_affinity(task, match_expressions=[training_nodes.match(e) for e in conditions])
    for wish in [e for e in profile.affinity if e.weight is not None]:
        kubernetes.add_node_affinity(task, match_expressions=[training_nodes.match(wish)], weight=wish.weight)
    for toleration in profile.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())


def _labels(step: str, profile: Profile, name: str | None) -> dict[str, str]:
    labels = {STEP_LABEL: step.replace("_", "-"), "modelmill.dev/priority": str(profile.priority)}
    if profile.grace:
        # KFP has no setting for it: an admission policy reads the label.
        labels["modelmill.dev/grace"] = str(profile_files.seconds(profile.grace))
    # A profile may have a name that no label can hold; then a pod that waits does not say which it is.
    return labels | ({PROFILE_LABEL: name} if name and _LABEL.fullmatch(name) else {})


def _surround(task: Any, step: str, profile: Profile, cluster: Cluster, labels: dict[str, str]) -> None:
    """Give a task labels, a user, folders to write to, a time limit and Secrets; its root file system is read-only."""
    from kfp import kubernetes

    for label, value in labels.items():
        kubernetes.add_pod_label(task, label, value)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp")
    if profile.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=profile.shm)
    if profile.timeout:
        kubernetes.set_timeout(task, profile_files.seconds(profile.timeout))
    for secret, keys in secrets_of(step, cluster):
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)


def secrets_of(step: str, cluster: Cluster) -> list[tuple[str, tuple[str, ...]]]:
    """Return the Secrets that a step takes keys from: only the report, which ends the run, tells anyone.

    Args:
        step: The step's name.
        cluster: The cluster.
    """
    named = cluster.secrets
    known: list[tuple[str | None, tuple[str, ...]]] = [
        (named.object_store, OBJECT_STORE_KEYS),
        (named.mlflow, MLFLOW_KEYS),
    ]
    known += [(named.hub, HUB_KEYS)] if step in HUB_STEPS else []
    known += [(named.notifications, NOTIFICATION_KEYS)] if step == "reporting" else []
    return [(secret, keys) for secret, keys in known if secret]


def environment_of(image: str, cluster: Cluster) -> dict[str, str]:
    """Return the environment variables of a step that are not secret.

    Args:
        image: The step's image in full.
        cluster: The cluster.
    """
    known = {
        IMAGE_VARIABLE: image,
        "MLFLOW_TRACKING_URI": cluster.mlflow,
        "AWS_DEFAULT_REGION": cluster.region,
        "AWS_ENDPOINT_URL": cluster.endpoint,
    }
    return {name: value for name, value in known.items() if value}
