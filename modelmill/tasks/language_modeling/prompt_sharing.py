"""The proof that answers may share a prompt: with a mask that keeps them apart, a model scores each as if alone.

It fails where what a token sees goes by its place in the row and not by its position: where a window or a bias of
attention counts places, a second answer is further from the prompt than it should be.
"""

from typing import Any

import torch

from modelmill.models import attention
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import proof, ways
from modelmill.tasks.language_modeling.scores import GRADIENT, NATS, WINDOW, largest, logits_of, losses_of, score
from modelmill.tasks.language_modeling.specimen import Specimen
from modelmill.tasks.language_modeling.ways import Way

# Tokens of prompt and answers of a sample's pairs; together no more than a window.
PAIRS = ((20, 12, 11), (9, 3, 9))


def is_right(model: Any, way: Way, tokens: int, length: int, device: torch.device) -> bool:
    """Return whether answers that share a prompt in one row are scored as if each had a copy of it.

    Args:
        model: The model; it is left as it was.
        way: The way in which it is fed.
        tokens: Size of the tokenizer.
        length: Tokens of a sequence in training.
        device: Where it will be trained.
    """
    if not ways.shares_prompts(way):
        return False
    with torch.random.fork_rng(), torch.enable_grad(), proof.exact():
        specimen = Specimen(model, tokens, length, WINDOW, device, is_whole=False)
        specimen.stir()
        try:
            return _agrees(specimen, way, device)
        except Exception:  # whatever a network raises for arguments that it does not take
            return False


def _agrees(specimen: Specimen, way: Way, device: torch.device) -> bool:
    shared, alone = _sample(specimen.tokens, device)
    specimen.model.set_attn_implementation(ways.EAGER)
    logits = [specimen.model(**ways.unshared(specimen.model, one["input_ids"])).logits[0] for one in alone]
    labels = {"labels": torch.cat([one["labels"][0] for one in alone])}
    expected = score(specimen, losses_of(torch.cat(logits), labels))
    name = attention.implementation(device) if way.attention == ways.OWN else way.attention
    specimen.model.set_attn_implementation(name)
    rows = logits_of(specimen, way, shared)[0].index_select(0, shared["places"])
    found = score(specimen, losses_of(rows, labels))
    if largest(found.losses, expected.losses) > NATS:
        return False
    whole = torch.stack([one.norm() for one in expected.gradients]).norm()
    return all(
        (mine - theirs).norm() <= GRADIENT * theirs.norm().clamp(min=whole / 100)
        for mine, theirs in zip(found.gradients, expected.gradients, strict=True)
    )


def _sample(tokens: int, device: torch.device) -> tuple[Batch, list[Batch]]:
    """Return pairs in one row, with the place of each label of the sequences, and the sequences each by itself."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, tokens, (sum(map(sum, PAIRS)),), generator=random)
    positions, segments, parents, places, alone, begin = [], [], [], [], [], 0
    for prompt, *answers in PAIRS:
        first = begin + prompt
        positions.append(torch.arange(prompt))
        segments.append(torch.full((prompt,), begin))
        parents.append(torch.full((prompt,), begin))
        for size in answers:
            positions.append(torch.arange(prompt, prompt + size))
            segments.append(torch.full((size,), first))
            parents.append(torch.full((size,), begin))
            where = torch.cat([torch.arange(begin, begin + prompt), torch.arange(first, first + size)])
            alone.append({"input_ids": drawn[where[:-1]][None].to(device), "labels": drawn[where[1:]][None].to(device)})
            places.append(where[:-1])
            first += size
        begin = first
    shared = {"input_ids": drawn, "position_ids": torch.cat(positions), "segments": torch.cat(segments)}
    shared = {name: one[None].to(device) for name, one in (shared | {"parents": torch.cat(parents)}).items()}
    return shared | {"places": torch.cat(places).to(device)}, alone
