"""Conversations in token ids, each of them known as learned or not."""

from collections.abc import Mapping
from typing import NamedTuple

from modelmill.corpus.packing import Segment
from modelmill.corpus.text.rendering import Rendered


class Turn(NamedTuple):
    """A message of the assistant that is learned.

    Attributes:
        number: Its number among the messages, from 0.
        weight: Weight of each of its tokens in the loss.
        text: The conversation up to and with it.
    """

    number: int
    weight: float
    text: Rendered


class Chatted(NamedTuple):
    """A conversation, or its beginning, in token ids.

    Attributes:
        segments: Its ids, each known as learned or not.
        turns: Number of the message that each learned segment is of.
    """

    segments: list[Segment]
    turns: list[int]

    @property
    def size(self) -> int:
        """Return the number of ids up to the end of the last learned segment."""
        return sum(len(segment.ids) for segment in self.segments[:-1])

    def within(self, room: int) -> "Chatted":
        """Return it with no more than `room` ids, by leaving out what follows the last learned segment."""
        *most, rest = self.segments
        return self._replace(segments=[*most, rest._replace(ids=rest.ids[: max(0, room - self.size)])])


class Ids(NamedTuple):
    """The ids of a `Rendered`, part by part."""

    given: list[int]
    learned: list[int]
    rest: list[int]


def joined(earlier: list[Turn], cuts: Mapping[int, tuple[int, int] | None], last: Turn, ids: Ids) -> Chatted:
    """Return an example of a last turn, in which earlier ones are learned, too.

    Args:
        earlier: The earlier turns.
        cuts: Where the ids of each begin and end in those before the last, by their numbers.
        last: The last turn.
        ids: Its ids.
    """
    segments: list[Segment] = []
    done = 0
    for turn in earlier:
        begin, end = cuts[turn.number] or (0, 0)
        segments += [Segment(ids.given[done:begin]), Segment(ids.given[begin:end], turn.weight)]
        done = end
    segments += [Segment(ids.given[done:]), Segment(ids.learned, last.weight), Segment(ids.rest)]
    return Chatted(segments, [*(turn.number for turn in earlier), last.number])
