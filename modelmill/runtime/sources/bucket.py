"""Models in a bucket: `s3://BUCKET/PREFIX`, fetched into the cache; what is whole there is not fetched again."""

import functools
import json
import os
import re
import shutil
from pathlib import Path

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.runtime.sources import cached, fetching
from modelmill.store import KeyNotFound, Stat, Store, open_store

SCHEME = "s3://"
# What was fetched, by name: size and age of the object that it is a copy of.
_FETCHED = ".fetched.json"


@functools.cache
def fetch(where: str, source: str, tokenizer_only: bool) -> Path:
    """Return a folder of the cache with the files of a model in a bucket.

    Args:
        where: Key and source, for messages.
        source: `s3://BUCKET/PREFIX`.
        tokenizer_only: Leave out the weights.

    Raises:
        UserError: There are no such files, one is cut off, or the bucket does not answer.
    """
    try:
        return _fetch(where, open_store(source), tokenizer_only)
    except KeyNotFound as error:
        raise UserError(f"{where}: {error}; somebody has removed it; give the same command again") from error
    except UserError as error:  # those of a store speak of an option that is not meant
        raise UserError(re.sub("^--store:? ", f"{where.partition(':')[0]}: ", str(error))) from error


def forget(source: str) -> None:
    """Remove what the cache has of a source, which was brought into a store.

    Args:
        source: `s3://BUCKET/PREFIX`.
    """
    shutil.rmtree(_place(open_store(source)), ignore_errors=True)


def _fetch(where: str, store: Store, tokenizer_only: bool) -> Path:
    stats = {name: stat for name, stat in store.stats("") if "/" not in name}
    if not stats:
        raise UserError(f"{where}: there are no files in it; does the bucket have this prefix?")
    place = _place(store)
    with cached.alone(place):
        place.mkdir(exist_ok=True)
        for file in place.iterdir():  # of what lay there before
            if file.name not in stats and file.name != _FETCHED:
                file.unlink()
        fetching.fetch(
            where, stats.keys(), lambda name: _download(where, store, name, stats[name], place), tokenizer_only
        )
    return place


def _place(store: Store) -> Path:
    key = digest.of_json([os.environ.get("AWS_ENDPOINT_URL", ""), store.uri])
    return cached.folder("models") / f"s3-{key[:32]}"


def _download(where: str, store: Store, name: str, stat: Stat, place: Path) -> Path:
    file, record = place / name, place / _FETCHED
    fetched = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    if fetched.get(name) == list(stat) and file.is_file() and file.stat().st_size == stat.bytes:
        return file
    store.download(name, file)
    if file.stat().st_size != stat.bytes:
        raise UserError(f"{where}: {name} has {file.stat().st_size} of {stat.bytes} bytes; give the same command again")
    partial = record.with_suffix(".tmp")
    partial.write_text(json.dumps(fetched | {name: list(stat)}), "utf-8")
    partial.replace(record)
    return file
