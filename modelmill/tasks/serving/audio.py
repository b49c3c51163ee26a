"""Recordings in requests, decoded with the checks that preprocessing makes."""

import numpy as np

from modelmill.data.media.audio import decode
from modelmill.data.media.unusable import Unusable
from modelmill.tasks.serving.model import decode_base64, refusal


def samples_of(text: str, rate: int, resample: bool = False) -> np.ndarray:
    """Return the samples of the column `audio`, the mean of its channels: float32, (samples,), full scale is 1.

    Args:
        text: The bytes of a WAV or FLAC file in base64.
        rate: The model's sample rate in Hz.
        resample: Whether a recording of another rate is resampled; otherwise it is refused.

    Raises:
        MlflowException: It is no recording, or one that preprocessing refuses.
    """
    try:
        return decode(decode_base64("audio", text), rate, resample)
    except Unusable as error:
        raise refusal(f"audio: cannot be decoded ({error})") from None
