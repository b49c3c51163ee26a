"""Languages that a checkpoint's tokenizer has tokens for, told by the files alone.

Families write them in three ways: mBART and NLLB as `en_XX` or `eng_Latn`, M2M100 as `__en__`, Marian as `>>eng<<`,
which stands before a text that is read and names the language to write.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.recipe.load import did_you_mean
from modelmill.runtime.weights import TOKENIZER, read_json

KEY = "preprocessing.languages"
_BARE, _UNDERSCORED, _MARIAN = (
    re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}"),
    re.compile(r"__(.+)__"),
    re.compile(r">>(.+)<<"),
)
# Languages that a message lists.
_SHOWN = 12


class Known(NamedTuple):
    """The languages that a tokenizer has tokens for.

    Attributes:
        both: Token of each language that either side can have, by its code.
        written: Token of each language that only the target can have, by its code.
    """

    both: dict[str, str]
    written: dict[str, str]

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.both or self.written)


def known(tokens: Collection[str]) -> Known:
    """Return the languages that are among the tokens which a tokenizer adds to its vocabulary."""
    both = {token: token for token in tokens if _BARE.fullmatch(token)}
    both |= {found[1]: token for token in tokens if (found := _UNDERSCORED.fullmatch(token))}
    return Known(both, {found[1]: token for token in tokens if (found := _MARIAN.fullmatch(token))})


def require(folder: Path, source: str | None, target: str | None) -> Known:
    """Return the languages that the tokenizer in a folder has tokens for, the wanted ones among them.

    Args:
        folder: Holds `tokenizer.json`.
        source: Language of the texts, None where the recipe names none.
        target: Language of the translations, None where the recipe names none.

    Raises:
        UserError: It has no token for a language, or the recipe does not name one that it needs.
    """
    has = known(_added(folder / TOKENIZER[0]))
    where = f"{folder}: its tokenizer"
    if not has:
        if source or target:
            raise UserError(
                f"{KEY}: {where} has no tokens for languages; leave the key out, and where the model is told in words "
                "what to do, set preprocessing.prefix"
            )
        return has
    for side, code, codes in (("source", source, has.both), ("target", target, has.both | has.written)):
        if code is None and codes and (side == "target" or has.both):
            raise UserError(f"{KEY}.{side}: {where} has a token for each language; name one of {_some(codes)}")
        if code is not None and code not in codes:
            advice = did_you_mean(code, codes) if len(codes) <= _SHOWN else _near(code, codes)
            extra = "; leave it out" if side == "source" and not has.both else advice
            raise UserError(f"{KEY}.{side}: {where} has no token for the language {code!r:.50}{extra}")
    return has


def _near(code: str, codes: Collection[str]) -> str:
    """Return the end of a message: the nearest of many codes, or some that begin alike."""
    advice = did_you_mean(code, codes)
    alike = [one for one in codes if one[:2].lower() == code[:2].lower()]
    return advice if advice.startswith("; did") else f"; it has {_some(alike or codes)}"


def _some(codes: Collection[str]) -> str:
    names = sorted(codes)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _added(file: Path) -> list[str]:
    added: Any = read_json("preprocessing.tokenizer.from", file).get("added_tokens")
    return [str(one.get("content")) for one in added or [] if isinstance(one, dict)]
