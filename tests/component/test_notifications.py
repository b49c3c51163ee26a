"""Notifications of the exit handler, to real HTTP and mail servers, from runs that ended in every way."""

import datetime
import email
import email.policy
import hashlib
import hmac
import ipaddress
import logging
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelmill.components.reporting import notify
from modelmill.components.reporting.outcome import IDLE
from modelmill.runtime import cancellation
from modelmill.runtime.run_records import Problem
from modelmill.store import open_store
from tests import receivers
from tests.component.past import RESUME, RUN, Finished, Past
from tests.mlflow_server import free_port

pytestmark = pytest.mark.usefixtures("default_registry")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in [name for name in os.environ if name.startswith("MODELMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(notify, "PAUSES", (0.0, 0.0))
    caplog.set_level(logging.INFO)


def ended(folder: Path, outcome: str, reason: str = "no column age") -> Finished:
    past = Past(folder)
    if outcome == "registered":
        past.registered()
    elif outcome == "gate failed":
        past.trained()
        past.evaluation(passed=False)
    else:
        past.data_validation()
        past.fail("preprocessing", Problem(kind="user", message=reason, exit_code=2))
    return past.report()


@pytest.mark.parametrize(
    ("outcome", "step", "reason"),
    [
        ("registered", None, None),
        ("gate failed", "evaluation", "accuracy is 0.71, below the minimum of 0.9"),
        ("failed", "preprocessing", "no column age"),
    ],
)
def test_webhook_and_slack_are_told_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, step: str | None, reason: str | None
) -> None:
    with receivers.posts() as webhook, receivers.posts() as slack:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", f"{webhook.uri}/hook?key=1")
        monkeypatch.setenv("MODELMILL_NOTIFY_SLACK", f"{slack.uri}/services/T/B/x")
        run = ended(tmp_path, outcome)
    (told,), (said,) = webhook.documents, slack.documents
    assert webhook.paths == ["/hook?key=1"] and "x-modelmill-signature" not in webhook.headers[0]
    assert told == {"event": "run.ended", "schema_version": 1, "recipe": "tiny", **run.outcome}
    assert (told["outcome"], told["failed_step"], told["reason"], told["resume"]) == (outcome, step, reason, RESUME)
    lines = [block["text"]["text"] for block in said["blocks"]]
    assert {block["text"]["type"] for block in said["blocks"]} == {"plain_text"}
    assert f"Outcome: {outcome}" in lines and f"Report: {run.outcome['report']}" in lines
    assert (f"Reason: {reason}" in lines, f"Failed step: {step}" in lines) == (bool(reason), bool(step))
    assert (f"Resume: {RESUME}" in lines) == (outcome != "registered")
    assert RUN in said["text"] and said["blocks"][0]["type"] == "header"


def test_a_cancelled_run_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past = Past(tmp_path)
    past.step("data_validation", {}, status="running")
    by = str(cancellation.write(past.store, RUN, "ann"))
    with receivers.posts() as webhook, receivers.posts() as slack:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        monkeypatch.setenv("MODELMILL_NOTIFY_SLACK", slack.uri)
        past.report()
    (told,), (said,) = webhook.documents, slack.documents
    assert (told["outcome"], told["exit_code"], told["reason"]) == ("cancelled", 4, by)
    assert said["text"].startswith("[CANCELLED] tiny ")


def test_a_secret_signs_what_the_webhook_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receivers.posts() as webhook:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        monkeypatch.setenv("MODELMILL_NOTIFY_SECRET", "planted-key")
        ended(tmp_path, "registered")
    headers, signed = webhook.headers[0], webhook.headers[0]["x-modelmill-timestamp"].encode() + b"."
    wanted = hmac.new(b"planted-key", signed + webhook.bodies[0], hashlib.sha256).hexdigest()
    assert headers["x-modelmill-signature"] == f"sha256={wanted}"


@pytest.mark.parametrize(("answers", "tries"), [([500, 503, 200], 3), ([500], 3), ([404], 1), ([302], 1)])
def test_what_may_pass_is_tried_three_times_and_never_fails_the_exit_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: list[int], tries: int
) -> None:
    with receivers.posts(*answers) as webhook:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", f"{webhook.uri}/planted-secret")
        run = ended(tmp_path, "failed")
        assert run.outcome["outcome"] == "failed" and len(webhook.bodies) == tries
    warnings = [r.getMessage() for r in caplog.records if "notification" in r.getMessage() and r.levelno > logging.INFO]
    last = answers[-1]
    assert warnings == ([] if last == 200 else [f"the notification by webhook was not sent: it answered HTTP {last}"])
    assert "planted" not in caplog.text and webhook.uri not in caplog.text


def test_one_channel_that_fails_does_not_keep_the_others_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receivers.posts() as slack:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", f"http://u:planted@127.0.0.1:{free_port()}/planted")
        monkeypatch.setenv("MODELMILL_NOTIFY_SLACK", slack.uri)
        monkeypatch.setenv("MODELMILL_NOTIFY_EMAIL_TO", "team@example.org")  # but no server
        ended(tmp_path, "failed")
    assert len(slack.bodies) == 1 and "planted" not in caplog.text
    assert "by webhook was not sent" in caplog.text and "set MODELMILL_SMTP_HOST" in caplog.text


@pytest.mark.parametrize(
    "url", ["ftp://planted/x", "planted", "http://planted\n.host/", "http://[planted", "file:///a"]
)
def test_an_address_that_is_none_is_one_line_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", url)
    assert ended(tmp_path, "failed").outcome["outcome"] == "failed"
    assert "by webhook was not sent" in caplog.text and "planted" not in caplog.text


@pytest.mark.parametrize(("when", "told"), [("always", "rffr"), ("failure", "ff"), ("change", "rfr"), ("odd", "rffr")])
def test_who_wants_to_hear_of_failures_or_changes_only_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, told: str
) -> None:
    monkeypatch.setenv("MODELMILL_NOTIFY_ON", when)
    with receivers.posts() as webhook:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        for outcome in ("registered", "failed", "failed", "registered"):
            ended(tmp_path, outcome)
        assert "".join(one["outcome"][0] for one in webhook.documents) == told


@pytest.mark.parametrize(("when", "times"), [("always", 1), ("failure", 0), ("change", 0)])
def test_a_run_with_nothing_to_do_is_neither_a_failure_nor_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, times: int
) -> None:
    monkeypatch.setenv("MODELMILL_NOTIFY_ON", when)
    run = ended(tmp_path, "registered")
    with receivers.posts() as webhook:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        notify.send(open_store(f"file://{tmp_path}/other"), "tiny", run.outcome | {"outcome": IDLE, "reason": "same"})
        assert len(webhook.documents) == times


def test_what_was_never_delivered_is_still_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELMILL_NOTIFY_ON", "change")
    with receivers.posts(404, 200) as webhook:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        for _ in range(3):
            ended(tmp_path, "failed")
        assert len(webhook.bodies) == 2


def test_hostile_reason_and_secrets_are_harmless_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reason = "<!channel> *x*\r\nBcc: all@example.org\r\n.\r\nQUIT https://u:planted-one@h/ planted-two é"
    monkeypatch.setenv("SOME_PASSWORD", "planted-two")
    with receivers.posts() as webhook, receivers.posts() as slack, receivers.mails() as mail:
        monkeypatch.setenv("MODELMILL_NOTIFY_WEBHOOK", webhook.uri)
        monkeypatch.setenv("MODELMILL_NOTIFY_SLACK", slack.uri)
        by_mail(monkeypatch, mail)
        past = Past(tmp_path)
        past.recipe["name"] = "tiny\r\nBcc: all@example.org\r\n\r\n<!channel>"
        past.fail("data_validation", Problem(kind="user", message=reason, exit_code=2))
        past.report()
    (raw,) = mail.messages
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["Bcc"] is None and "Bcc: all@example.org" in message["Subject"]
    assert "Reason: <!channel> *x* Bcc: all@example.org . QUIT" in message.get_content()
    assert [c for c in mail.commands if c.upper().startswith("RCPT")] == ["rcpt TO:<team@example.org>"]
    (said,) = slack.documents
    assert "<" not in said["text"] and "&lt;!channel&gt;" in said["text"]
    sent = b"".join([raw, *webhook.bodies, *slack.bodies]).decode() + message.get_content()
    assert "planted" not in sent + caplog.text


def by_mail(monkeypatch: pytest.MonkeyPatch, mail: receivers.Mails, **more: str) -> None:
    monkeypatch.setenv("MODELMILL_NOTIFY_EMAIL_TO", "team@example.org")
    monkeypatch.setenv("MODELMILL_SMTP_HOST", "localhost")
    monkeypatch.setenv("MODELMILL_SMTP_PORT", str(mail.port))
    monkeypatch.setenv("MODELMILL_SMTP_FROM", "mill@example.org")
    for name, value in more.items():
        monkeypatch.setenv(f"MODELMILL_SMTP_{name}", value)


def test_mail_says_what_the_others_say_and_is_encrypted_where_that_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receivers.mails(certificate(tmp_path)) as mail:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        by_mail(monkeypatch, mail, USER="mill", PASSWORD="planted")
        monkeypatch.setenv("MODELMILL_NOTIFY_EMAIL_TO", "team@example.org, other@example.org")
        run = ended(tmp_path, "gate failed")
    message = email.message_from_bytes(mail.messages[0], policy=email.policy.default)
    assert mail.encrypted == [True] and any(c.startswith("AUTH") for c in mail.commands)
    assert len([c for c in mail.commands if c.upper().startswith("RCPT")]) == 2
    assert message["Subject"] == f"[GATE FAILED] tiny {RUN}" and message["From"] == "mill@example.org"
    text = " ".join(message.get_content().split())
    for part in (run.outcome["reason"], run.outcome["report"], RESUME, "Failed step: evaluation"):
        assert part in text
    assert "planted" not in caplog.text + text


def test_no_password_is_sent_where_nothing_encrypts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receivers.mails() as mail:
        by_mail(monkeypatch, mail, USER="mill", PASSWORD="planted")
        ended(tmp_path, "failed")
    assert not mail.messages and not any(c.startswith("AUTH") for c in mail.commands)
    assert "by e-mail was not sent: the mail server offers no STARTTLS" in caplog.text


def test_a_mail_server_that_refuses_or_cannot_be_trusted_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receivers.mails(refuse="550 nobody planted") as mail:
        by_mail(monkeypatch, mail)
        assert ended(tmp_path, "failed").outcome["outcome"] == "failed"
    with receivers.mails(certificate(tmp_path)) as mail:
        by_mail(monkeypatch, mail)
        ended(tmp_path, "failed")
    assert not mail.messages and "planted" not in caplog.text
    assert "refused every recipient" in caplog.text and "certificate" in caplog.text


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS for localhost; who trusts `certificate.pem` trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
