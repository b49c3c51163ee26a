"""Messages of Django in many languages: text whose label, the language, is known."""

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from components.common import catalogues
from components.common.digest import fraction
from components.common.errors import UserError

# Languages in Latin letters, close relatives among them: what tells them apart is words, not the alphabet.
LANGUAGES = [
    "cs",
    "da",
    "de",
    "es",
    "et",
    "fi",
    "fr",
    "hu",
    "id",
    "it",
    "lt",
    "lv",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "sk",
    "sl",
    "sv",
    "tr",
]
# Shorter messages are mostly names and units.
SHORTEST = 12


def text_classification(shards: int) -> dict[str, bytes]:
    """A message's shard is drawn by its English source, which is also what the split goes by."""
    rows: list[list[str]] = [[] for _ in range(shards)]
    found = sorted(set(_messages()))
    languages = Counter(text for text, _ in {(text, language) for _, text, language in found})
    for source, text, language in found:
        if languages[text] > 1:
            continue  # the same in several languages
        line = json.dumps({"text": text, "language": language, "source": source}, ensure_ascii=False) + "\n"
        rows[int(fraction(source) * shards)].append(line)
    return {f"messages-{number:05d}.jsonl": "".join(lines).encode() for number, lines in enumerate(rows) if lines}


def _messages() -> Iterator[tuple[str, str, str]]:
    """Source, translation and language of each."""
    found = importlib.util.find_spec("django")
    if found is None or found.origin is None:
        raise UserError("text-classification: its data is Django's messages: pip install 'modelmill[demo]'")
    for file in sorted(Path(found.origin).parent.glob("**/locale/*/LC_MESSAGES/*.mo")):
        language = file.parts[-3]
        if language in LANGUAGES:
            for source, translations in catalogues.messages(file.read_bytes()):
                yield from ((source, t, language) for t in map(str.strip, translations) if len(t) >= SHORTEST)


DEMOS = {"text-classification": text_classification}
