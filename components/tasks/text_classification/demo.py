"""Messages of Django in many languages: text whose label, the language, is known."""

import importlib.util
import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

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
_LITTLE_ENDIAN, _CONTEXT = 0x950412DE, "\x04"


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
            for source, translations in _entries(file.read_bytes()):
                yield from ((source, t, language) for t in map(str.strip, translations) if len(t) >= SHORTEST)


def _entries(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """What a compiled catalogue holds (https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html): each
    message without its context and plural, and its translations, of which a plural has several.
    """
    magic, _, count, sources, targets = struct.unpack_from("<5I", data)
    assert magic == _LITTLE_ENDIAN
    for number in range(count):
        source, target = (_string(data, table + 8 * number) for table in (sources, targets))
        if source:  # the empty one is the catalogue's header
            yield source.split("\0")[0].rpartition(_CONTEXT)[2], target.split("\0")


def _string(data: bytes, place: int) -> str:
    length, start = struct.unpack_from("<2I", data, place)
    return data[start : start + length].decode("utf-8")


DEMOS = {"text-classification": text_classification}
