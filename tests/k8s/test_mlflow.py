"""MLflow as the cluster starts it: the manifest's own command and settings, run here on a real PostgreSQL."""

import contextlib
import http.client
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.container import postgres
from tests.k8s.rendered import made_secrets, named
from tests.mlflow_server import free_port
from tests.server_process import serving

READY_SECONDS = 300
INSIDE = "mlflow.modelmill:5000"
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def environment(config: Path) -> dict[str, str]:
    """What the container gets of ConfigMaps and Secrets."""
    values, secrets = named("kind", "ConfigMap", "modelmill-mlflow")["data"], made_secrets()
    config.write_text(values["basic_auth.ini"])
    given: dict[str, str] = {}
    (container,) = named("kind", "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    for source in container["envFrom"]:
        given |= secrets[source["secretRef"]["name"]]
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "configMapKeyRef" in source:
            given[variable["name"]] = values[source["configMapKeyRef"]["key"]]
        elif "secretKeyRef" in source:
            given[variable["name"]] = secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
    return {**given, "MLFLOW_AUTH_CONFIG_PATH": str(config)}


def ask(port: int, path: str, host: str, password: str = "") -> int:
    """The status of an answer to the administrator, or to nobody without a password."""
    headers = {"Host": host}
    if password:
        headers["Authorization"] = f"Basic {b64encode(f'admin:{password}'.encode()).decode()}"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The port, and the administrator's password."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    (container,) = named("kind", "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    words = [str(port) if word == "5000" else word for word in container["command"]]
    given = environment(folder / "basic_auth.ini")
    with postgres.running() as database:
        at = urlsplit(database)
        given |= {"PGHOST": "127.0.0.1", "PGPORT": str(at.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        given["MLFLOW_DISABLE_TELEMETRY"] = "true"

        def is_ready() -> bool:
            with contextlib.suppress(OSError):
                return ask(port, container["startupProbe"]["httpGet"]["path"], f"10.244.0.7:{port}") == 200
            return False

        with serving([sys.executable, "-m", *words], folder, given, is_ready, READY_SECONDS):
            yield port, given["MLFLOW_AUTH_ADMIN_PASSWORD"]


def test_steps_and_people_need_a_password_and_the_kubelet_none(server: tuple[int, str]) -> None:
    port, password = server
    assert ask(port, SEARCH, INSIDE) == 401
    assert ask(port, SEARCH, INSIDE, "not the password") == 401
    assert ask(port, SEARCH, INSIDE, password) == 200
    # A probe comes by the pod's address.
    assert ask(port, "/health", "10.244.0.7:5000") == 200


def test_a_name_that_is_not_its_own_is_refused(server: tuple[int, str]) -> None:
    port, password = server
    assert ask(port, SEARCH, "mlflow.elsewhere.example:5000", password) == 403
    for host in named("kind", "ConfigMap", "modelmill-mlflow")["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","):
        assert ask(port, SEARCH, host, password) == 200
