"""Production where pods have an identity: the same as with keys, and no key to the object store anywhere."""

import yaml

from modelmill.pipelines.cluster import placement
from modelmill.pipelines.cluster.settings import load
from tests.k8s.rendered import K8S, containers, named, of_kind, render

OVERLAY, KEYS = "production-identity", "modelmill-object-store"


def test_no_container_takes_keys_and_no_secret_is_made_for_them() -> None:
    known = {one["metadata"]["name"] for one in of_kind("production", "ExternalSecret")}
    assert {one["metadata"]["name"] for one in of_kind(OVERLAY, "ExternalSecret")} == known - {KEYS}
    names = [name for name, *_ in containers(OVERLAY)]
    assert names == [name for name, *_ in containers("production")]
    for name, container, _ in containers(OVERLAY):
        taken = [one["secretRef"]["name"] for one in container.get("envFrom", []) if "secretRef" in one]
        assert KEYS not in taken, name
        before = next(one for known, one, _ in containers("production") if known == name)
        had = [one["secretRef"]["name"] for one in before.get("envFrom", []) if "secretRef" in one]
        assert taken == [one for one in had if one != KEYS], name


def test_every_account_that_reads_the_store_has_a_role() -> None:
    accounts = {one["metadata"]["name"]: one["metadata"] for one in of_kind(OVERLAY, "ServiceAccount")}
    for name in ("pipeline", "training", "trigger", "mlflow", "backup"):
        role = accounts[f"modelmill-{name}"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role.startswith("arn:aws:iam::000000000000:role/modelmill"), name


def test_kfp_asks_for_no_secret_and_knows_where_the_store_is() -> None:
    with_keys = yaml.safe_load(named("production", "ConfigMap", "kfp-launcher")["data"]["providers"])["s3"]["default"]
    config = named(OVERLAY, "ConfigMap", "kfp-launcher")["data"]
    without = yaml.safe_load(config["providers"])["s3"]["default"]
    # fromEnv alone, without an endpoint and a region, would make KFP's launcher take another way.
    assert without.pop("credentials") == {"fromEnv": True}
    assert with_keys.pop("credentials")["fromEnv"] is False
    assert without == with_keys
    assert (
        config["defaultPipelineRoot"] == named("production", "ConfigMap", "kfp-launcher")["data"]["defaultPipelineRoot"]
    )


def test_steps_are_compiled_without_the_secret() -> None:
    cluster = load(K8S / "overlays" / OVERLAY / "cluster.yaml")
    assert KEYS not in [name for name, _ in placement.secrets_of("evaluation", cluster)]
    same = load(K8S / "overlays" / "production" / "cluster.yaml")
    assert cluster.model_copy(update={"secrets": same.secrets}) == same


def test_all_else_is_as_in_production() -> None:
    def names(overlay: str) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in render(overlay)}

    assert names("production") - names(OVERLAY) == {("ExternalSecret", KEYS)}
    assert not names(OVERLAY) - names("production")
