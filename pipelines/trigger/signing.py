"""Who may ask: an HMAC-SHA256 over timestamp and body, each signed request once; or a bearer secret for events."""

import hashlib
import hmac
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelmill.core.errors import ModelmillError, UserError
from modelmill.store import Store

SECRET, EVENTS_SECRET = "MODELMILL_TRIGGER_SECRET", "MODELMILL_TRIGGER_EVENTS_SECRET"
TIMESTAMP_HEADER, SIGNATURE_HEADER = "X-Modelmill-Timestamp", "X-Modelmill-Signature"
# How far a request's timestamp may be from this clock.
WINDOW_SECONDS = 300
_LEAST_BYTES = 16
_REPLAYS = "triggers/replays/"


class Unauthorized(ModelmillError):
    """The request is not signed, or not by whom, when and once as it should be."""

    kind = "unauthorized"


@dataclass(frozen=True)
class Secrets:
    """Secrets of the service.

    Attributes:
        requests: The secret that signs.
        events: Bearer secret of webhooks that cannot sign; None where there are none.
    """

    requests: bytes = field(repr=False)
    events: bytes | None = field(repr=False, default=None)


def read_secrets() -> Secrets:
    """Return the secrets from the environment.

    MODELMILL_TRIGGER_SECRET, or the file that MODELMILL_TRIGGER_SECRET_FILE names, has the one that signs, and
    MODELMILL_TRIGGER_EVENTS_SECRET, or its file, the one of events.

    Raises:
        UserError: There is none to check signatures with, one is too short, or a file cannot be read.
    """
    requests, events = _secret(SECRET), _secret(EVENTS_SECRET)
    if requests is None:
        raise UserError(f"trigger-server: no secret to check signatures with: set {SECRET} or {SECRET}_FILE")
    return Secrets(requests, events)


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of X-Modelmill-Signature: the HMAC-SHA256 of `TIMESTAMP.BODY`, in hexadecimal.

    Args:
        secret: The secret that signs.
        timestamp: Seconds since 1970, as the header has them.
        body: The request's.
    """
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def verify(secret: bytes, headers: Mapping[str, str], body: bytes) -> str:
    """Check signature and timestamp; return the name by which the request is known from now on.

    Args:
        secret: The secret that signs.
        headers: The request's.
        body: The request's.

    Raises:
        Unauthorized: Either is missing, wrong or old.
    """
    timestamp, signature = headers.get(TIMESTAMP_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
    expected = sign(secret, timestamp, body)
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise Unauthorized(f"{TIMESTAMP_HEADER} is missing or not in seconds since 1970")
    if not hmac.compare_digest(expected.encode(), signature.removeprefix("sha256=").lower().encode()):
        raise Unauthorized(f"{SIGNATURE_HEADER} is missing or wrong")
    if abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
        raise Unauthorized(f"{TIMESTAMP_HEADER} is more than {WINDOW_SECONDS} s away from the server's clock")
    return f"{timestamp}-{expected}"


def has_bearer(secret: bytes | None, headers: Mapping[str, str]) -> bool:
    """Return whether the request carries the events' secret as `Authorization: Bearer SECRET`."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    return (
        secret is not None
        and scheme.lower() == "bearer"
        and hmac.compare_digest(secret, given.strip().encode("utf-8", "surrogateescape"))
    )


def require_first(store: Store, name: str) -> None:
    """Remember a signed request, for all replicas.

    Args:
        store: Where requests are remembered.
        name: The request's, from `verify`.

    Raises:
        Unauthorized: It came before.
    """
    if not store.put_if_absent(f"{_REPLAYS}{name}", b""):
        raise Unauthorized("the same signed request came before; sign each with another timestamp or `id`")


def forget_old(store: Store) -> None:
    """Forget requests that are too old to be taken anyway."""
    oldest = time.time() - 2 * WINDOW_SECONDS
    for key in list(store.list(_REPLAYS)):
        if int(key.removeprefix(_REPLAYS).partition("-")[0]) < oldest:
            store.delete(key)


def _secret(name: str) -> bytes | None:
    value, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE", "")
    where = name
    if not value and file:
        where = f"{name}_FILE"
        try:
            value = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{where}: {file} cannot be read") from None
    if not value and not file:
        return None
    if len(value.encode()) < _LEAST_BYTES:
        raise UserError(f"{where}: the secret is shorter than {_LEAST_BYTES} bytes; openssl rand -hex 32 makes one")
    return value.encode()
