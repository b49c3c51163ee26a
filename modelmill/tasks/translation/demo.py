"""Names of languages, countries, regions, currencies and scripts, in English and Ukrainian: Debian's iso-codes."""

import importlib.util
import json
from pathlib import Path

from modelmill.core.digest import fraction
from modelmill.core.errors import UserError
from modelmill.tasks.translation import catalogues

LANGUAGE = "uk"


def translation(shards: int) -> dict[str, bytes]:
    """A name's shard is drawn by its English text, which is also what the split goes by. Where catalogues differ in how
    they translate a name, the first in order counts.
    """
    found = importlib.util.find_spec("pycountry")
    if found is None or found.origin is None:
        raise UserError("translation: its data comes with pycountry: pip install 'modelmill[demo]'")
    names: dict[str, tuple[str, str]] = {}
    for file in sorted((Path(found.origin).parent / "locales" / LANGUAGE / "LC_MESSAGES").glob("*.mo")):
        for english, (ukrainian, *_) in catalogues.messages(file.read_bytes()):
            names.setdefault(english.strip(), (ukrainian.strip(), file.stem))
    rows: list[list[str]] = [[] for _ in range(shards)]
    for english, (ukrainian, catalogue) in sorted(names.items()):
        row = {"english": english, "ukrainian": ukrainian, "catalogue": catalogue}
        rows[int(fraction(english) * shards)].append(json.dumps(row, ensure_ascii=False) + "\n")
    return {f"names-{number:05d}.jsonl": "".join(lines).encode() for number, lines in enumerate(rows) if lines}


DEMOS = {"translation": translation}
