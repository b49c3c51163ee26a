"""The order in which a model's files are fetched: what describes it first, so that a mistake costs no gigabytes."""

from collections.abc import Callable, Collection
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.runtime.sources import architecture, layout
from modelmill.runtime.sources.layout import CONFIG, INDEX, WEIGHTS


def fetch(where: str, names: Collection[str], one: Callable[[str], Path], tokenizer_only: bool) -> None:
    """Fetch the files of a model that are read, and no others.

    Args:
        where: Key and source, for messages.
        names: Files that there are.
        one: Fetches a file and returns its place on this machine.
        tokenizer_only: Leave out the weights.

    Raises:
        UserError: There are no weights as safetensors, a shard is missing, or transformers has no such architecture.
    """
    places = {name: one(name) for name in sorted(names) if layout.is_describing(name)}
    if tokenizer_only:
        return
    if CONFIG not in places:
        if layout.ADAPTER in places:
            raise layout.without_weights(where, names)
        raise UserError(f"{where}: no {CONFIG} in it; is it a model that save_pretrained has written?")
    architecture.check(where, layout.read_json(where, places[CONFIG]))
    if WEIGHTS in names:
        one(WEIGHTS)
        return
    if INDEX not in names:
        raise layout.without_weights(where, names)
    shards = sorted(set(layout.weight_map(where, one(INDEX)).values()))
    if missing := [shard for shard in shards if shard not in names]:
        raise UserError(f"{where}: {missing[0]} is missing, one of {len(shards)} shards that {INDEX} names")
    for shard in shards:
        one(shard)
