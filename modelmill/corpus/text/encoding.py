"""The documents of one shard as arrays of tokens."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from modelmill.corpus import packing
from modelmill.corpus.array_file import PackedFiles
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import documents
from modelmill.corpus.text.conversations.names import SOURCE
from modelmill.corpus.text.documents import Document
from modelmill.corpus.text.framed import Framed, Framing, Placed
from modelmill.corpus.text.framing import framing_of
from modelmill.corpus.text.settings import LanguagePreprocessing, Pairs
from modelmill.corpus.text.tokenizer import Encoder
from modelmill.data.shard import Shard
from modelmill.runtime import weights

# Characters of text in a batch.
_BATCH = 1 << 20


def encode(
    shard: Shard,
    sha256: str,
    settings: LanguagePreprocessing,
    folder: Path,
    target: Path,
    left_out: frozenset[int] = frozenset(),
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Read, split, tokenise and pack one shard into .npy files below `target`.

    Documents pass through in batches, so that memory does not grow with the shard.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        folder: The tokenizer's folder.
        target: The folder for the files.
        left_out: Rows that are not in the corpus.

    Returns:
        The files by their names, and by split the counts of what they hold.
    """
    length = settings.sequence_length
    pairs = settings.pairs.model_dump_json(by_alias=True) if settings.pairs else None
    encoder, framing = _tools(folder, weights.tokenizer_digest(folder), pairs, length)
    with ExitStack() as stack:
        splits = {split: _Split(stack, target, split, encoder, framing, length) for split in SPLITS}
        for batch in _batches(documents.read(shard, sha256, settings, left_out)):
            for split, chosen in _by_split(batch).items():
                splits[split].add(chosen, shard.path)
    files = {name: path for split in splits.values() for name, path in split.files().items()}
    return files, {name: dict(split.counts) for name, split in splits.items()}


class _Split:
    """The documents and pairs of one split."""

    def __init__(
        self, stack: ExitStack, target: Path, split: str, encoder: Encoder, framing: Framing | None, length: int
    ) -> None:
        self.documents = stack.enter_context(PackedFiles(target, f"{split}/documents"))
        self.pairs = stack.enter_context(PackedFiles(target, f"{split}/pairs"))
        self.encoder = encoder
        self.framing = framing
        self.stream = packing.PairStream(
            encoder.vocabulary.end, length, encoder.dtype, framing.arrays if framing else frozenset()
        )
        self.counts: Counter[str] = Counter(documents=0, bytes=0, tokens=0, pairs=0, response_tokens=0)
        self.counts.update(dict.fromkeys(framing.counted if framing else (), 0))
        self.records = f"{split}/pairs.conversations.jsonl" if split == "test" else None
        self._target = target
        self._is_weighted = False

    def add(self, batch: list[Document], where: str) -> None:
        ids, vocabulary, dtype = self.encoder.ids, self.encoder.vocabulary, self.encoder.dtype
        texts = [document.text for document in batch]
        packed = packing.pack_documents(ids(texts), vocabulary.end, dtype, self.documents.position, vocabulary.opening)
        self.documents.append(packed)
        size = sum(len(text.encode()) for text in texts)
        self.counts.update(documents=len(texts), bytes=size, tokens=len(packed.tokens) - 1)
        placed = [
            Placed(pair, document.row) for document in batch for pair in (*document.pairs, *document.conversations)
        ]
        if self.framing is None or not placed:
            return
        examples = self.framing.examples(placed, where, self.counts)
        if not examples:
            return
        packed = self.stream.pack([example.segments for example in examples])
        self.pairs.append(packed)
        assert packed.learned is not None
        # The first token is the last of the batch before.
        self.counts.update(pairs=len(examples), response_tokens=int(packed.learned[1:].sum()))
        if packed.weights is not None:
            self._is_weighted |= bool(((packed.weights > 0) & (packed.weights != 1)).any())
        self._write(examples, {document.row: document.source for document in batch if document.source})

    def _write(self, examples: list[Framed], sources: dict[int, str]) -> None:
        """Write the messages of held-out examples, for samples and slices, and where each row is from."""
        records = [example.record for example in examples if example.record is not None]
        named = [
            {**record, SOURCE: sources[record["row"]]} if record["row"] in sources else record for record in records
        ]
        lines = [json.dumps(record, ensure_ascii=False) for record in named]
        if self.records is not None and lines:
            with (self._target / self.records).open("a", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)

    def files(self) -> dict[str, Path]:
        files = self.documents.files() | self.pairs.files()
        if not self._is_weighted:  # `learned` says as much
            files = {name: path for name, path in files.items() if not name.endswith("/pairs.weights.npy")}
        if self.records is not None and (self._target / self.records).exists():
            files[self.records] = self._target / self.records
        return files


@functools.lru_cache(maxsize=1)
def _tools(folder: Path, content: str, pairs: str | None, length: int) -> tuple[Encoder, Framing | None]:
    """Return the encoder and the framing, kept in the process: what one shard teaches of words serves the next."""
    encoder = Encoder(folder)
    return encoder, framing_of(Pairs.model_validate_json(pairs), encoder, folder, length) if pairs else None


def _batches(source: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in source:
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _by_split(batch: list[Document]) -> dict[str, list[Document]]:
    chosen: dict[str, list[Document]] = {}
    for document in batch:
        chosen.setdefault(document.split, []).append(document)
    return chosen
