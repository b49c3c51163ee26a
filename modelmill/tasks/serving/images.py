"""Images in requests, decoded with the checks that preprocessing makes."""

import numpy as np

from modelmill.data.media.images import decode
from modelmill.data.media.unusable import Unusable
from modelmill.tasks.serving.model import decode_base64, refusal


def pixels_of(text: str, channels: int = 3) -> np.ndarray:
    """Return the pixels of the column `image`: uint8, (height, width, channels).

    Args:
        text: A file's bytes in base64.
        channels: 1 for grey, 3 for RGB.

    Raises:
        MlflowException: It is no image, or one that preprocessing refuses.
    """
    try:
        return decode(decode_base64("image", text), channels)
    except Unusable as error:
        raise refusal(f"image: cannot be decoded ({error})") from None
