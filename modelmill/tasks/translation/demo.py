"""Demo data for translation: names in English and Ukrainian from Debian's iso-codes.

They are the names of languages, countries, regions, currencies and scripts.
"""

import importlib.util
import json
from pathlib import Path

from modelmill.core.digest import fraction
from modelmill.core.errors import UserError
from modelmill.tasks.translation import catalogues

LANGUAGE = "uk"


def translation(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of names and translations, by path.

    A name's English text draws its shard, and its split later. Where catalogues translate a name differently, the first
    in order counts.

    Args:
        shards: Number of files.
    """
    package = importlib.util.find_spec("pycountry")
    if package is None or package.origin is None:
        raise UserError("translation: its data comes with pycountry: pip install 'modelmill[demo]'")
    names: dict[str, tuple[str, str]] = {}
    for file in sorted((Path(package.origin).parent / "locales" / LANGUAGE / "LC_MESSAGES").glob("*.mo")):
        for english, (ukrainian, *_) in catalogues.messages(file.read_bytes()):
            names.setdefault(english.strip(), (ukrainian.strip(), file.stem))
    rows: list[list[str]] = [[] for _ in range(shards)]
    for english, (ukrainian, catalogue) in sorted(names.items()):
        row = {"english": english, "ukrainian": ukrainian, "catalogue": catalogue}
        rows[int(fraction(english) * shards)].append(json.dumps(row, ensure_ascii=False) + "\n")
    return {f"names-{number:05d}.jsonl": "".join(lines).encode() for number, lines in enumerate(rows) if lines}


DEMOS = {"translation": translation}
