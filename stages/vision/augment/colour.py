"""Operations on the values of pixels, each example with its own strength; to the bit as Pillow."""

import torch
from torch import Tensor

# Images are (batch, 3, height, width) uint8, strengths (batch,) on the same device.


def luma(images: Tensor) -> Tensor:
    """(batch, 1, height, width) int32: ITU-R 601, rounded as Pillow does."""
    red, green, blue = images.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)[:, None]


def blend(degenerate: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Degenerate + factor * (images - degenerate), cut off below 0, above 255, and after the point.

    Args:
        degenerate: broadcastable to the images, integers.
        images: uint8.
        factor: (batch,); 1 gives the images.
    """
    low = degenerate.to(torch.float32)
    mixed = low + factor.to(torch.float32)[:, None, None, None] * (images.to(torch.float32) - low)
    return mixed.clamp(0, 255).to(torch.uint8)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is black."""
    return blend(torch.zeros_like(images[:, :1]), images, factor)


def colour(images: Tensor, factor: Tensor) -> Tensor:
    """0 is grey: saturation."""
    return blend(luma(images), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """0 is the mean grey everywhere."""
    mean = (luma(images).double().mean((1, 2, 3), keepdim=True) + 0.5).to(torch.int32)
    return blend(mean, images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is smoothed by ((1, 1, 1), (1, 5, 1), (1, 1, 1)) / 13; the outermost pixels stay."""
    if min(images.shape[-2:]) < 3:
        return images
    wide = images.to(torch.int32)
    height, width = images.shape[-2:]
    total = 4 * wide[..., 1:-1, 1:-1]
    for y in range(3):
        for x in range(3):
            total = total + wide[..., y : height - 2 + y, x : width - 2 + x]
    smooth = wide.clone()
    smooth[..., 1:-1, 1:-1] = (2 * total + 13) // 26
    return blend(smooth, images, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the highest `bits` bits, 0 to 8."""
    mask = (0xFF << (8 - bits.long())) & 0xFF
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what is not below the threshold."""
    return torch.where(images < threshold[:, None, None, None], images, 255 - images)


def solarize_add(images: Tensor, addition: Tensor) -> Tensor:
    """Adds to what is below 128. Source: autoaugment.py of the released code of EfficientNet."""
    more = images.to(torch.int32) + addition.to(torch.int32)[:, None, None, None]
    return torch.where(images < 128, more.clamp(0, 255).to(torch.uint8), images)


def invert(images: Tensor) -> Tensor:
    """255 minus the value."""
    return 255 - images


def autocontrast(images: Tensor) -> Tensor:
    """Each channel stretched to 0..255, where it has more than one value."""
    low = images.amin((2, 3)).double()
    high = images.amax((2, 3)).double()
    span = (high - low).clamp(min=1)
    scale = torch.full_like(span, 255.0) / span  # a number over a tensor is rounded twice
    values = torch.arange(256, device=images.device, dtype=torch.float64)
    table = (values * scale[..., None] + (-low * scale)[..., None]).clamp(0, 255).to(torch.uint8)
    flat = (high <= low)[..., None]
    return _looked_up(images, torch.where(flat, values.to(torch.uint8), table))


def equalize(images: Tensor) -> Tensor:
    """Each channel with about as many pixels of every value."""
    flat = images.flatten(2).long()  # (batch, channels, pixels)
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    cumulative = counts.cumsum(2)
    last = counts.gather(2, flat.amax(2, keepdim=True))
    step = (flat.shape[2] - last) // 255
    before = cumulative - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    identity = torch.arange(256, device=images.device)
    return _looked_up(images, torch.where(step == 0, identity, table).to(torch.uint8))


def _looked_up(images: Tensor, table: Tensor) -> Tensor:
    """(batch, channels, 256) new value of each value."""
    flat = images.flatten(2).long()
    return table.gather(2, flat).view_as(images)
