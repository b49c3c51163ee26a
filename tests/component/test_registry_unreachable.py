"""A registry that does not answer, now or for good."""

import logging
import threading

import pytest

from modelmill.core.errors import ModelmillError, UserError
from modelmill.runtime import run_records, tracking
from modelmill.runtime.run_records import RunRecord
from modelmill.runtime.tracking.patience import patience
from tests import mlflow_server as mlflow_servers
from tests.component.registrations import PASSWORD, USER, Case, Child, assert_whole
from tests.mlflow_server import MlflowServer, free_port

pytestmark = pytest.mark.usefixtures("nothing_set")


def test_a_server_that_is_not_there_is_one_line_without_credentials(
    language: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{PASSWORD}@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MODELMILL_REGISTRY_SECONDS", "0")
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as stopped:
        language.run()
    assert stopped.value.code == 1
    problem = language.problem()
    assert problem.kind == "failed"
    assert problem.message == (
        f"MLflow at http://127.0.0.1:{port}: does not answer ([Errno 111] Connection refused), tried for 0 s; "
        f"put that right, then this only registers, nothing is trained again: modelmill resume {language.run_id(1)}"
    )
    captured = capfd.readouterr()
    everything = captured.out + captured.err + caplog.text
    assert PASSWORD not in everything and USER not in everything
    assert "Traceback" not in everything
    with pytest.raises(ModelmillError, match="Connection refused") as refused:
        tracking.has_version(language.store, language.name, "1")
    assert PASSWORD not in str(refused.value) and "\n" not in str(refused.value)


def test_a_server_that_refuses_the_name_hints_at_its_allowed_hosts(
    language: Case, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another way to write 127.0.0.1, which is not in the server's list.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.1:{mlflow_server.port}")
    with pytest.raises(SystemExit) as stopped:
        language.run()
    assert stopped.value.code == 1
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" in language.problem().message


def test_the_message_ends_with_the_command_that_finishes_the_registration(
    table: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MODELMILL_REGISTRY_SECONDS", "1.5")
    resume = "modelmill run recipe.yaml"
    started = RunRecord(run_id=table.run_id(1), recipe={}, store=table.store.uri, started=0.0, resume=resume)
    run_records.write_run(table.store, started)
    with pytest.raises(SystemExit) as stopped:
        table.run()
    assert stopped.value.code == 1
    message = table.problem().message
    assert "Connection refused), tried for 1.5 s; put that right" in message
    assert message.endswith(f"nothing is trained again: {resume}")


def test_a_server_that_comes_back_in_time_gets_the_version(table: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    process = Child(table)
    output: list[str] = []
    asked_again = threading.Event()

    def read() -> None:
        for line in process.stdout:
            output.append(line)
            if "trying again" in line:
                asked_again.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert asked_again.wait(60), output
    with mlflow_servers.running(port):
        assert process.wait(120) == 0, output
        reader.join()
        assert_whole(table)


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf", ""])
def test_seconds_that_are_none_are_the_users_mistake(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMILL_REGISTRY_SECONDS", given)
    with pytest.raises(UserError, match="MODELMILL_REGISTRY_SECONDS"):
        patience()
