"""Images: their measures for the data contract, and their pixels."""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from modelmill.data.media.unusable import Unusable

# What is measured of each image, beside the columns of every file, by the names of its pyarrow types.
COLUMNS = {
    "width": "int64",
    "height": "int64",
    "channels": "int64",
    "mode": "string",
    "brightness": "double",
}
# No decoder that runs other programs or that is hardly kept.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# Pillow's own limit against decompression bombs, which it only warns of, and from twice as many on refuses.
MAX_PIXELS = 89_478_485
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
warnings.simplefilter("error", Image.DecompressionBombWarning)


def measure(data: bytes) -> dict[str, Any]:
    """Return the columns of an image, which is decoded whole.

    Args:
        data: Bytes of the file.

    Returns:
        `width` and `height` in pixels, upright; `channels`, the bands of its `mode`, which is Pillow's name for how
        pixels are stored; and `brightness`, the mean luma from 0 (black) to 1 (white).

    Raises:
        Unusable: It cannot be decoded, has too many pixels or more than 8 bits a channel.
    """
    image = _load(data)
    luma = np.asarray(image.convert("L"))
    brightness = int(luma.sum(dtype=np.int64)) / (255 * luma.size)
    values = (image.width, image.height, len(image.getbands()), image.mode, brightness)
    return dict(zip(COLUMNS, values, strict=True))


def decode(data: bytes, channels: int = 3) -> np.ndarray:
    """Return an image's pixels: uint8, (height, width, channels). Of a moving picture, the first one.

    Args:
        data: Bytes of the file.
        channels: 1 for grey, 3 for RGB; transparency is left out.

    Raises:
        Unusable: As `measure`.
    """
    pixels = np.asarray(_load(data).convert({1: "L", 3: "RGB"}[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return an image scaled to a side and cut to a square around its middle.

    Args:
        pixels: Image as `decode` returns it.
        size: Pixels of the square's side.
    """
    if pixels.shape[:2] == (size, size):
        return pixels
    scaled = ImageOps.fit(_image(pixels), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(scaled).reshape(size, size, pixels.shape[2])


def png(pixels: np.ndarray) -> bytes:
    """Return an image, given as `decode` returns it, as a PNG file."""
    sink = io.BytesIO()
    _image(pixels).save(sink, "PNG")
    return sink.getvalue()


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _load(data: bytes) -> Image.Image:
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Unusable(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        Image.open(
            io.BytesIO(data), formats=FORMATS
        ).verify()  # the checksums of a PNG, which decoding does not look at
        image.load()
        image = ImageOps.exif_transpose(image)
    except (Unusable, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Unusable(f"broken, or none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise whatever broken bytes make them
        raise Unusable(f"broken ({error})") from None
    if image.mode not in _EIGHT_BITS:
        raise Unusable(f"of mode {image.mode}, with more than 8 bits a channel; save it with 8")
    return image
