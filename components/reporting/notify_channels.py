"""The channels of notifications: a webhook, Slack and a mail server. Addresses come from the environment only."""

import contextlib
import hashlib
import hmac
import json
import os
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from modelmill.components.reporting.notify_words import Message

TIMEOUT_SECONDS = 10.0
_TLS_PORT, _SUBMISSION_PORT = 465, 587
_BUSY = frozenset({408, 425, 429})


class MisconfiguredChannel(Exception):
    """An error that no second try mends; the message names no address."""


def configured() -> dict[str, Callable[[Message], None]]:
    """Return the senders of the channels that the environment names, by the channel's name."""
    senders = {
        "webhook": ("MODELMILL_NOTIFY_WEBHOOK", _webhook),
        "Slack": ("MODELMILL_NOTIFY_SLACK", _slack),
        "e-mail": ("MODELMILL_NOTIFY_EMAIL_TO", _email),
    }
    return {name: sender for name, (variable, sender) in senders.items() if os.environ.get(variable, "").strip()}


def explain(error: BaseException) -> tuple[str, bool]:
    """Return what failed, in words without any address, and whether a later try may succeed."""
    if isinstance(error, MisconfiguredChannel):
        return str(error), False
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered HTTP {error.code}", error.code >= 500 or error.code in _BUSY
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the mail server refused every recipient", False
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answered {error.smtp_code}", error.smtp_code < 500
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLError):
        return "its TLS certificate or protocol was refused", False
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s", True
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__, True
    return type(error).__name__, False


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the content of `X-Modelmill-Signature`: HMAC-SHA256 over `<timestamp>.<body>`, in hex."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _webhook(message: Message) -> None:
    body = json.dumps(message.document).encode()
    headers = {}
    if secret := os.environ.get("MODELMILL_NOTIFY_SECRET"):
        now = str(int(time.time()))
        headers = {"X-Modelmill-Timestamp": now, "X-Modelmill-Signature": signature(secret, now, body)}
    _post("MODELMILL_NOTIFY_WEBHOOK", body, headers)


def _slack(message: Message) -> None:
    _post("MODELMILL_NOTIFY_SLACK", json.dumps(message.slack).encode(), {})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A handler that refuses redirects: a redirected POST would become a GET without its body, to somebody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(variable: str, body: bytes, headers: dict[str, str]) -> None:
    url = os.environ[variable].strip()
    if not url.startswith(("https://", "http://")):
        raise MisconfiguredChannel(f"{variable} is no http or https URL")
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method="POST")
    except ValueError:
        raise MisconfiguredChannel(f"{variable} is no http or https URL") from None
    with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS):
        return


def _email(message: Message) -> None:
    mail = EmailMessage()
    recipients = [one.strip() for one in os.environ["MODELMILL_NOTIFY_EMAIL_TO"].split(",") if one.strip()]
    user, host = os.environ.get("MODELMILL_SMTP_USER", ""), os.environ.get("MODELMILL_SMTP_HOST", "")
    sender = os.environ.get("MODELMILL_SMTP_FROM") or user
    if not host or not sender:
        raise MisconfiguredChannel("set MODELMILL_SMTP_HOST and MODELMILL_SMTP_FROM")
    try:
        mail["Subject"], mail["From"], mail["To"] = message.title, sender, ", ".join(recipients)
    except ValueError:
        raise MisconfiguredChannel("MODELMILL_NOTIFY_EMAIL_TO or MODELMILL_SMTP_FROM is no mail address") from None
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="modelmill.invalid")
    mail.set_content(message.text)
    server = _connect(host, _port())
    try:
        if user:
            server.login(user, os.environ.get("MODELMILL_SMTP_PASSWORD", ""))
        server.send_message(mail)
    finally:
        # The mail was sent or refused before, however the server ends the connection.
        with contextlib.suppress(Exception):
            server.quit()
        server.close()


def _port() -> int:
    given = os.environ.get("MODELMILL_SMTP_PORT") or str(_SUBMISSION_PORT)
    if not given.isdigit() or not 0 < int(given) < 65536:
        raise MisconfiguredChannel("MODELMILL_SMTP_PORT is no port")
    return int(given)


def _connect(host: str, port: int) -> smtplib.SMTP:
    """Connect to the mail server, encrypted where it offers that; without encryption no password is sent.

    Raises:
        MisconfiguredChannel: A password is to be sent and the server offers no encryption.
    """
    context = ssl.create_default_context()
    if port == _TLS_PORT:
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    try:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
        elif os.environ.get("MODELMILL_SMTP_USER"):
            raise MisconfiguredChannel("the mail server offers no STARTTLS, and a password is never sent without")
    except BaseException:
        server.close()
        raise
    return server
