"""Layouts whose rows are in files of their own: Hugging Face's metadata, Common Voice, LibriSpeech and CoNLL."""

from functools import partial
from pathlib import PurePosixPath

from modelmill.data.data_files import DataFile
from modelmill.data.layouts.place import Place, format_of, nothing, suffix_of, tagged
from modelmill.data.media.finding import with_files
from modelmill.data.shard import FORMATS, Format, Shard
from modelmill.recipe.layout import Layout

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
VOICES, CHAPTER = ".tsv", ".trans.txt"
CONLL = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", ".txt")
# Tables of Common Voice that hold different recordings; the others repeat these, or hold what nobody has confirmed.
_SPLITS, _ALL = ("train.tsv", "dev.tsv", "test.tsv"), "validated.tsv"
_WANTED = {
    "metadata": "no metadata.csv, metadata.jsonl or metadata.parquet there, whose column 'file_name' names the files",
    "common_voice": "no train.tsv, dev.tsv, test.tsv or validated.tsv of Common Voice there",
    "librispeech": "no transcripts of LibriSpeech there (*.trans.txt)",
    "conll": f"no files of CoNLL there ({', '.join(CONLL)})",
}
_FORMATS: dict[Layout, Format] = {"common_voice": "voices", "librispeech": "transcripts", "conll": "conll"}


def find(place: Place, layout: Layout) -> list[Shard]:
    """Return a shard for each file of rows.

    Args:
        place: Where the data lies.
        layout: One of this module's.

    Raises:
        UserError: There is none.
    """
    files = data_files(place, layout)
    if not files:
        raise nothing(place, _WANTED[layout])
    found = tagged(files, partial(_shard, layout))
    if place.kind is None:
        return found
    there = place.widened()
    return [with_files(shard, place.kind, place.corrupt, there) for shard in found]


def data_files(place: Place, layout: Layout) -> list[DataFile]:
    """Return the files of rows at a place.

    Args:
        place: The place.
        layout: One of this module's.
    """
    if layout == "metadata":
        return [file for file in place.files if plain(file) in METADATA]
    if layout == "librispeech":
        return [file for file in place.files if plain(file).endswith(CHAPTER)]
    if layout == "conll":
        return place.suffixed(*CONLL)
    return _voices(place)


def plain(file: DataFile) -> str:
    """Return a file's name in lower case, without a suffix of compression."""
    name = PurePosixPath(file.path)
    return name.name.lower() if name.suffix.lower() == suffix_of(file.path) else name.with_suffix("").name.lower()


def _voices(place: Place) -> list[DataFile]:
    tables = place.suffixed(VOICES)
    is_folder = place.root.rstrip("/").endswith(place.path.removeprefix("file://").rstrip("/"))
    if not is_folder:
        return tables  # the path names them
    splits = [file for file in tables if plain(file) in _SPLITS]
    return splits or [file for file in tables if plain(file) == _ALL]


def _shard(layout: Layout, file: DataFile) -> Shard:
    format_ = FORMATS[suffix_of(file.path)] if layout == "metadata" else _FORMATS[layout]
    return Shard(*file, *format_of(file, format_), layout=layout)
