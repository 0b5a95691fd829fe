"""An image as a picture, enlarged; pictures and figures as files."""

import io

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor


def enlarged(image: Tensor, scale: int) -> Image.Image:
    """uint8 (3, H, W), each pixel a square of `scale` x `scale`."""
    height, width = image.shape[1:]
    pixels = Image.fromarray(image.permute(1, 2, 0).cpu().contiguous().numpy())
    return pixels.resize((scale * width, scale * height), Image.Resampling.NEAREST)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file, compressed little, for speed."""
    file = io.BytesIO()
    picture.save(file, "png", compress_level=1)
    return file.getvalue()


def figure_png(figure: Figure, dpi: int = 80) -> bytes:
    """The figure as a PNG file, so many dots an inch."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()
