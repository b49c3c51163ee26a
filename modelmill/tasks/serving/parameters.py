"""Parameters of requests to a language model, as its signature declares them."""

from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """A parameter of a request.

    Attributes:
        name: Its name, which is OpenAI's where there is one.
        type: MLflow's name of its type.
        default: What holds where a request does not say.
        is_list: Whether it is a list of such values.
    """

    name: str
    type: str
    default: Any
    is_list: bool = False


_SAMPLING = (
    Parameter("temperature", "double", 0.0),
    Parameter("top_p", "double", 1.0),
    Parameter("top_k", "long", 0),
    Parameter("seed", "long", None),
    Parameter("stop", "string", [], is_list=True),
)
COMPLETION = (Parameter("max_new_tokens", "long", 64), *_SAMPLING)
CHAT = (
    Parameter("max_tokens", "long", None),
    # OpenAI's newer name of it, and that of a prompt's completion.
    Parameter("max_completion_tokens", "long", None),
    Parameter("max_new_tokens", "long", None),
    *_SAMPLING,
    Parameter("truncation", "string", "disabled"),
    # Declared so that a request for what is not done is refused: MLflow drops what a signature does not name.
    Parameter("n", "long", 1),
    Parameter("stream", "boolean", False),
    Parameter("logprobs", "boolean", False),
    Parameter("frequency_penalty", "double", 0.0),
    Parameter("presence_penalty", "double", 0.0),
)
MOST_TOKENS = ("max_completion_tokens", "max_tokens", "max_new_tokens")
DEFAULT_TOKENS = {"prompt": 64, "messages": 512}
