"""Films of solved puzzles: animated GIFs that play anywhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrm_gym.envs.errors import ConfigError
from hrm_gym.envs.whole_files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image


def write_gif(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float = 4, hold_last: float = 2.0) -> None:
    """Write frames as an endlessly repeating GIF. The file appears whole or not at all; an existing one is replaced.

    All frames share one palette of 256 colours without dithering, so that flat colours stay flat and nothing flickers.
    Frames equal to the one before are merged with it (it stands longer); the playing time stays the same.

    Args:
        path: the file to write; missing folders are made.
        frames: uint8[height, width, 3] each, all of one shape, as `hrm_gym.envs.drawing.draw` gives them; at least one.
        fps: frames per second, above 0 and at most 50 (players cannot do more).
        hold_last: seconds for which the last frame stands before the film starts again, 0 or more (at least 1 / fps is kept).

    Raises:
        ConfigError: no frames, frames of unlike shapes or dtype, or fps or hold_last out of range.
        gymnasium.error.DependencyNotInstalled: Pillow is missing.
    """
    if not 0 < fps <= 50:
        raise ConfigError(f"fps {fps} is out of range; expected more than 0 and at most 50 frames per second")
    if not 0 <= hold_last <= 600:
        raise ConfigError(f"hold_last {hold_last} is out of range; expected 0 to 600 seconds")
    pictures = [np.asarray(frame) for frame in frames]
    if not pictures:
        raise ConfigError(f"there are no frames to write to {path}; give at least one frame")
    for number, picture in enumerate(pictures):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ConfigError(f"frame {number} is {picture.dtype}{list(picture.shape)}; expected uint8[height, width, 3]")
        if picture.shape != pictures[0].shape:
            raise ConfigError(
                f"frame {number} has shape {picture.shape} but frame 0 has {pictures[0].shape}; draw all frames at one size"
            )

    images = _with_shared_palette(pictures)
    usual = max(2, round(100 / fps)) * 10  # a GIF counts time in hundredths of a second
    durations = [usual] * (len(images) - 1) + [max(usual, round(hold_last * 100) * 10)]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        images[0].save(part, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)


def _with_shared_palette(pictures: list[np.ndarray]) -> list[Image]:
    """The pictures as palette images that share one palette: exact up to 256 colours, else nearest of 256."""
    try:
        from PIL import Image
    except ImportError as error:
        from gymnasium.error import DependencyNotInstalled

        raise DependencyNotInstalled("Pillow is not installed; films need it: pip install pillow") from error
    counts: Counter[Any] = Counter()
    for picture in pictures:
        for count, colour in Image.fromarray(picture).getcolors(picture.shape[0] * picture.shape[1]) or []:
            counts[colour] += count
    ranked = np.array([colour for colour, _ in counts.most_common()], dtype=np.uint8)
    if len(ranked) <= 256:
        palette = ranked
    else:
        # Flat areas get exactly their colour; the many blends at the edges of letters share the other half. A median cut
        # of all pixels would spend nearly the whole palette on the background instead.
        blends = Image.fromarray(ranked[None, 128:]).quantize(128, Image.Quantize.MEDIANCUT).getpalette()
        palette = np.concatenate([ranked[:128], np.array(blends, dtype=np.uint8).reshape(-1, 3)[:128]])
    nearest = [_nearest(part, palette) for part in np.array_split(ranked, len(ranked) // 4096 + 1)]
    index_of = np.zeros((256, 256, 256), dtype=np.uint8)
    index_of[tuple(ranked.T)] = np.concatenate(nearest)
    images = []
    for picture in pictures:
        image = Image.fromarray(index_of[picture[..., 0], picture[..., 1], picture[..., 2]])
        image.putpalette(palette.tobytes())
        images.append(image)
    return images


def _nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of the nearest palette colour for each colour, uint8[N]."""
    apart = colours[:, None, :].astype(np.int32) - palette[None].astype(np.int32)
    return (apart**2).sum(axis=2).argmin(axis=1).astype(np.uint8)
