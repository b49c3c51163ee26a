"""Changes to one document: Unicode normalisation, and e-mail addresses and secrets replaced."""

import re
import unicodedata
from typing import NamedTuple

from modelmill.corpus.text.settings import Hygiene

EMAIL, SECRET = "<email>", "<secret>"
# Every pattern but the last begins with fixed characters, which are found fast, and repeats a bounded number of times,
# so that no text makes the search quadratic.
# Python multiplies matrices with @: what goes on like code, as in `x@self.weight` or `a@b.conj().T`, is no address;
# nor is `git@github.com:owner/name`.
_DOMAIN = re.compile(
    r"@(?!self\.)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9@_(\[]|\.[A-Za-z_])"
)
_MAILBOX = re.compile(r"(?<![A-Za-z0-9._%+@-])(?!git\Z)[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
# Keys in the forms that their issuers document; a word that merely looks random is left alone.
_KEYS = [
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY-----[^-]{1,16384}"
        r"-----END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY-----",
        r"AKIA(?<!\wAKIA)[0-9A-Z]{16}\b",  # AWS, as the next
        r"ASIA(?<!\wASIA)[0-9A-Z]{16}\b",
        r"github_pat_[A-Za-z0-9_]{22,255}",
        r"gh(?<!\wgh)[pousr]_[A-Za-z0-9]{36,255}",
        r"glpat-[A-Za-z0-9_-]{20,64}",  # GitLab
        r"xox[abprs]-[A-Za-z0-9-]{10,255}",  # Slack
        r"AIza[0-9A-Za-z_-]{35}",  # Google
        r"hf_(?<!\whf_)[A-Za-z0-9]{30,64}",  # Hugging Face
        r"sk-(?<!\wsk-)[A-Za-z0-9_-]{32,200}",  # OpenAI and others
        r"eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}",  # JSON Web Token
    )
]
# A placeholder such as `{user}:{password}`, `<user>:<password>` or `%s:%s` is no secret.
_IN_URL = re.compile(r"://[^\s/:@\"'<>{}]{1,64}:(?!%[sr(])[^\s/:@\"'<>{}]{1,64}@")
# A quoted value with letters and digits that is assigned to a name for a secret.
_NAMES = ("api_key", "apikey", "access_key", "accesskey", "secret", "token", "passwd", "password")
_ASSIGNED = re.compile(
    rf"(?i)((?<!publickey)(?:{'|'.join(_NAMES)})s?(?:_?(?:key|id|value|hash|\d{{1,2}}))?[\"']?\s{{0,4}}[:=]\s{{0,4}}[\"'])"
    r"(?=[^\"'\s]{0,200}\d)(?=[^\"'\s]{0,200}[A-Za-z])[^\"'\s<>{}|]{12,200}(?=[\"'])"
)


class Cleaned(NamedTuple):
    """A document after cleaning.

    Attributes:
        text: The document.
        normalised: 1 if normalisation changed the text, else 0.
        emails: How many e-mail addresses were replaced.
        secrets: How many secrets were replaced.
    """

    text: str
    normalised: int
    emails: int
    secrets: int


def clean(text: str, hygiene: Hygiene) -> Cleaned:
    """Return the document as the model is to see it, with counts of the changes."""
    mended = unicodedata.normalize(hygiene.unicode, text) if hygiene.unicode else text
    normalised = int(mended != text)
    emails = secrets = 0
    if "secrets" in hygiene.redact:  # first: a password in a URL looks like the start of an e-mail address
        mended, secrets = _without_secrets(mended)
    if "emails" in hygiene.redact:
        mended, emails = _without_emails(mended)
    return Cleaned(mended, normalised, emails, secrets)


def _without_secrets(text: str) -> tuple[str, int]:
    count = 0
    for pattern in _KEYS:
        text, replaced = pattern.subn(SECRET, text)
        count += replaced
    text, replaced = _IN_URL.subn(f"://{SECRET}@", text)
    count += replaced
    lower = text.lower()
    if any(name in lower for name in _NAMES):
        text, replaced = _ASSIGNED.subn(rf"\g<1>{SECRET}", text)
        count += replaced
    return text, count


def _without_emails(text: str) -> tuple[str, int]:
    parts: list[str] = []
    start = 0
    for domain in _DOMAIN.finditer(text):
        before = text[max(start, domain.start() - 65) : domain.start()]
        if mailbox := _MAILBOX.search(before):
            parts += [text[start : domain.start() - len(mailbox.group())], EMAIL]
            start = domain.end()
    return "".join([*parts, text[start:]]), len(parts) // 2
