"""Speech that eSpeak NG synthesises of text, for demo data, through its C interface (`speak_lib.h`).

eSpeak NG (https://github.com/espeak-ng/espeak-ng) is free software under the GNU GPL, version 3 or later. Only the
optional extra `demo` installs it; nothing else of Modelmill needs it. It is a formant synthesiser and contains no
recordings of people.
"""

import _ctypes
import ctypes
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core.errors import UserError

# Of speak_lib.h: samples go to the callback, and espeak_Synth returns after the last; parameters; text is UTF-8.
_SYNCHRONOUS, _DONT_EXIT, _RATE, _PITCH, _CHARACTERS, _UTF8 = 2, 0x8000, 1, 3, 1, 1
_SEED = 1
_BREATH = re.compile(r"^breath\b", re.MULTILINE)
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def synthesise(text: str, voice: str = "en-us", rate: int = 175, pitch: int = 50) -> tuple[np.ndarray, int]:
    """Return a reading of the text: float32, (samples,), where full scale is 1, and the sample rate in Hz (22,050).

    Equal arguments give equal samples, whatever was said before. So a voice with `breath` is refused, because eSpeak
    makes breath of memory that it has never set. A call takes some 6 ms; never call it from two threads at once.

    Args:
        text: The text to read.
        voice: A language, and after `+` one of eSpeak's variants, such as `en-us+f1`.
        rate: Words a minute, from 80 to 450.
        pitch: From 0 to 100.

    Raises:
        UserError: eSpeak NG is not installed.
        ValueError: It has no such voice, or the voice has breath.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError("demo-data: its speech is synthesised by eSpeak NG: pip install 'modelmill[demo]'")
    import espeakng_loader

    data = Path(espeakng_loader.get_data_path())
    chunks: list[np.ndarray] = []

    @_Callback
    def keep(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _loaded(espeakng_loader.get_library_path()) as library:
        sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        assert sample_rate > 0, data
        variant = data / "voices" / "!v" / voice.partition("+")[2]
        # eSpeak ignores an unknown variant silently.
        if library.espeak_SetVoiceByName(voice.encode()) or not variant.exists():
            raise ValueError(f"{voice}: eSpeak NG has no such voice")
        if variant.is_file() and _BREATH.search(variant.read_text("utf-8", "replace")):
            raise ValueError(f"{voice}: this voice has breath, which is different each time")
        library.espeak_SetSynthCallback(keep)
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        spoken = text.encode()
        failed = library.espeak_Synth(spoken, len(spoken) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        assert not failed, failed
    samples = np.concatenate([np.zeros(0, np.int16), *chunks])
    return samples.astype(np.float32) / (1 << 15), sample_rate


@contextmanager
def _loaded(path: str) -> Iterator[Any]:
    """Enter a block with the library in its initial state: phases and random numbers carry on from text to text."""
    library = ctypes.CDLL(path)
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    ctypes.CDLL(None).srand(_SEED)
    try:
        yield library
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)
