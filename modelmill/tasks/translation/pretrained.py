"""A translator whose network a checkpoint decides, with its own tokenizer, languages and way of writing."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.core.errors import UserError, one_line
from modelmill.corpus import checkpoint
from modelmill.models.cross_entropy import IGNORED, LinearCrossEntropy
from modelmill.runtime import weights
from modelmill.runtime.compatibility import require_length, require_vocabulary
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Batch
from modelmill.tasks.pretrained.task import PretrainedTask, blocks_of
from modelmill.tasks.translation import decoder_inputs, generating, plain_head, sides
from modelmill.tasks.translation.decoder_inputs import Start
from modelmill.tasks.translation.pair_examples import PairExamples, batch_of
from modelmill.tasks.translation.recipe import Recipe

# Tokens of made-up texts, those around them not counted: of sources, and of what is written.
MADE_UP = ((5, 11, 3), (7, 2, 6))
# Weights times tokens of the largest model that is given a text of the recipe's length: a second of work.
WORK = 2e10


class PretrainedTranslation(PretrainedTask):
    """Cross-entropy on each token of the written text; see `modelmill.tasks.contract.Task`.

    Attributes:
        sides: Both sides of a translation as the checkpoint's tokenizer has them.
        start: How the decoder's input begins, as transformers has it; known once there is a model.
        scale: What hidden states are multiplied by before the head's matrix; None where there is more to the head.
    """

    head = "AutoModelForSeq2SeqLM"

    def __init__(self, corpus: Manifest, files: dict[str, Path], settings: Any) -> None:
        """Take what a corpus says of the model; see `PretrainedTask`."""
        super().__init__(corpus, files, settings)
        self.sides = sides.read(self.checkpoint / sides.FILE)
        self.start: Start = "token"
        self.scale: float | None = None
        self.cross_entropy = LinearCrossEntropy()

    def check(self, folder: Path) -> None:
        """Check that weights fit the corpus; see `PretrainedTask`."""
        super().check(folder)
        require_length(folder, self.sides.length, self.key)
        require_vocabulary(folder, self.checkpoint / sides.SHARED, self.key)

    def examples(self, stage: str, split: str) -> PairExamples:
        """Return the examples of a split in a stage; see `Task.examples`."""
        return PairExamples(self.files, split, self.corpus.info["padding"], self.sides.length)

    def decoder(self) -> sides.Decoder:
        """Return the decoder of what the model writes."""
        return sides.Decoder(self.checkpoint, self.sides)

    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the encoder's blocks, then the decoder's."""
        return [*blocks_of(model.get_encoder()), *blocks_of(model.get_decoder())]

    def compilable(self, model: nn.Module) -> list[nn.Module]:
        """Return the score of the head; texts have too many shapes for blocks."""
        return [] if self.scale is None else [self.cross_entropy.score]

    def terms(self, batch: Batch) -> int:
        """Return the number of tokens to write."""
        return int((batch["labels"] != IGNORED).sum())

    def loss(self, model: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
        """Return the summed loss in nats; see `Task.loss`."""
        labels = batch["labels"].flatten()
        if self.scale is None or not self.way.padded:
            logits = self.written(model, batch).flatten(0, 1).float()
            return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
        counts = torch.nonzero(labels != IGNORED).flatten()
        hidden = self._hidden(model, batch).flatten(0, 1)[counts] * self.scale
        total: torch.Tensor = self.cross_entropy(
            hidden, model.get_output_embeddings().weight, labels[counts], smoothing
        )
        return total

    def written(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the logits of each label after those before it, (batch, target length, vocabulary)."""
        if self.way.padded:
            return self._written(model, batch)
        lengths = torch.stack([batch["attention_mask"].sum(1), (batch["labels"] != IGNORED).sum(1)], dim=1)
        kinds, kind = lengths.unique(dim=0, return_inverse=True)
        order, parts = [], []
        for number, (read, written) in enumerate(kinds.tolist()):
            rows = torch.nonzero(kind == number).flatten()
            cut = {name: tensor[rows, : written if name == "labels" else read] for name, tensor in batch.items()}
            logits = self._written(model, cut)
            parts.append(F.pad(logits, (0, 0, 0, batch["labels"].shape[1] - written)))
            order.append(rows)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the logits of the first token of each translation, (batch, vocabulary)."""
        opening = torch.tensor(generating.opening(model, self.start, self.sides), device=values.device)
        logits: torch.Tensor = model(
            input_ids=values,
            attention_mask=(values != model.config.pad_token_id).long(),
            decoder_input_ids=opening.expand(len(values), -1),
            use_cache=False,
        ).logits[:, -1]
        return logits

    def made_up(self, model: Any) -> tuple[Batch, Sequence[Batch]]:
        """Return made-up pairs of several lengths in a batch, and a batch each; see `PretrainedTask`."""
        config = model.config
        numbered = [getattr(config, f"{name}_token_id", None) for name in ("pad", "eos", "bos", "decoder_start")]
        plain = np.setdiff1d(np.arange(self.corpus.info["vocab_size"]), [one for one in numbered if one is not None])
        random = np.random.default_rng(0)
        pairs = [
            [
                np.array([*side.before, *random.choice(plain, count), *side.after])
                for side, count in zip((self.sides.source, self.sides.target), counts, strict=True)
            ]
            for counts in zip(*MADE_UP, strict=True)
        ]
        padding = int(config.pad_token_id)
        return batch_of(pairs, padding), [batch_of([pair], padding) for pair in pairs]

    def outputs(self, model: Any, batch: Batch) -> list[torch.Tensor]:
        """Return the logits of each translation, (length, vocabulary)."""
        lengths = (batch["labels"] != IGNORED).sum(1).tolist()
        return [logits[:length] for logits, length in zip(self._written(model, batch), lengths, strict=True)]

    def _written(self, model: Any, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=self._given(model, batch),
            use_cache=False,
        ).logits
        return logits

    def _hidden(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the decoder's last hidden states, (batch, target length, width)."""
        read = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        hidden: torch.Tensor = model.get_decoder()(
            input_ids=self._given(model, batch),
            encoder_hidden_states=read.last_hidden_state,
            encoder_attention_mask=batch["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        return hidden

    def _given(self, model: Any, batch: Batch) -> torch.Tensor:
        config = model.config
        return decoder_inputs.shifted(batch["labels"], self.start, config.decoder_start_token_id, config.pad_token_id)

    def _proved(self, model: Any, folder: str) -> nn.Module:
        """Return a model set up for the way of feeding that is right, and that writes as it learns to."""
        where = f"{self.key}: {folder}"
        together, _ = self.made_up(model)
        self.start = decoder_inputs.start_of(model, together, where)
        generating.configure(model, self.start, self.sides, Path(folder), where)
        proved = super()._proved(model, folder)
        self.scale = plain_head.scale_of(
            model, lambda one: self._written(one, together), lambda one: self._hidden(one, together)
        )
        self._require_positions(proved, where)
        return proved

    @torch.no_grad()
    def _require_positions(self, model: Any, where: str) -> None:
        """Check that a model has positions for texts of the recipe's length; one that would take long is not asked.

        Raises:
            UserError: It has not.
        """
        length = self.sides.length
        if model.num_parameters() * length > WORK:
            return
        ids = np.full(length, self.made_up(model)[0]["input_ids"][1, 2])
        try:
            with torch.random.fork_rng():
                self._written(model, batch_of([[ids, ids]], int(model.config.pad_token_id)))
        except Exception as error:  # of an embedding, a buffer or a table of positions
            raise UserError(
                f"{where}: {type(model).__name__} has no positions for {length} tokens: {one_line(error)[:200]}; set "
                "preprocessing.sequence_length to less"
            ) from error


def check(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return how a checkpoint would be fed, told with its own tokenizer; nothing where it has none.

    Args:
        folder: The checkpoint.
        recipe: The recipe.

    Raises:
        UserError: It cannot be trained.
    """
    from modelmill.tasks.translation.framing import Framing, described

    own = weights.own_tokenizer(folder)
    if own is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="modelmill-checkpoint-") as scratch:
        place = Path(scratch)
        checkpoint.take(folder, own.parent, place)
        both = Framing(place, recipe.preprocessing).sides()
        (place / sides.FILE).write_bytes(both.to_json())
        files = {f"{checkpoint.FOLDER}/{file.name}": file for file in place.iterdir()}
        corpus = Manifest(kind="corpus", entries=[], made_from={}, info=described(place, both))
        task = PretrainedTranslation(corpus, files, recipe.model)
        task.load(folder)
        return task.notes
