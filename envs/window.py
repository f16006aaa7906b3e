"""A window that shows pictures as they come, for `render_mode="human"`, `hrm-gym watch` and `hrm-gym play`."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

import numpy as np

from hrm_gym.envs.drawing import import_pygame
from hrm_gym.envs.errors import ConfigError, DeviceError


def has_display() -> bool:
    """Whether a window can be opened."""
    if os.environ.get("SDL_VIDEODRIVER") in ("dummy", "offscreen"):
        return True
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """A pygame window. It opens at the first `show`, at that frame's size; a frame too large for the screen is scaled down.

    Key presses and mouse clicks are left in pygame's queue for a player's loop to read (`pygame.event.get`); all other
    events are taken out, so that the queue never fills while someone only watches.

    Attributes:
        title: what the window's bar says.
        fps: `show` waits so that at most this many frames are shown in a second; 0 never waits.
        closed: True once the user has closed the window; `show` then does nothing.
    """

    def __init__(self, title: str = "hrm-gym", fps: float = 0) -> None:
        self.title = title
        self.fps = fps
        self.closed = False
        self._pygame: Any = None
        self._screen: Any = None
        self._clock: Any = None
        self._frame_size: tuple[int, int] | None = None

    def show(self, frame: np.ndarray) -> None:
        """Show uint8[height, width, 3] and take note of whether the user closed the window.

        Raises:
            gymnasium.error.DependencyNotInstalled: pygame is missing.
            DeviceError: there is no display.
            ConfigError: a frame of another shape or dtype.
        """
        if self.closed:
            return
        picture = np.asarray(frame)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ConfigError(f"the frame is {picture.dtype}{list(picture.shape)}; expected uint8[height, width, 3]")
        size = (picture.shape[1], picture.shape[0])
        if self._screen is None or self._frame_size != size:
            self._open(size)
        pygame = self._pygame
        surface = pygame.image.frombuffer(np.ascontiguousarray(picture), size, "RGB")
        if self._screen.get_size() != size:
            surface = pygame.transform.smoothscale(surface, self._screen.get_size())
        self._screen.blit(surface, (0, 0))
        pygame.display.flip()
        self._take_events()
        if self.fps > 0 and not self.closed:
            self._clock.tick(self.fps)

    def _open(self, size: tuple[int, int]) -> None:
        pygame = self._pygame = import_pygame()
        try:
            pygame.display.init()
            desktop = (pygame.display.get_desktop_sizes() or [(0, 0)])[0]
            # leave a tenth for the window's bar and the desktop's own; a screen of unknown size is taken as large enough
            share = min([1.0, *(0.9 * have / need for have, need in zip(desktop, size, strict=True) if have > 0)])
            self._screen = pygame.display.set_mode((max(1, round(size[0] * share)), max(1, round(size[1] * share))))
        except pygame.error as error:
            raise DeviceError(
                f'no window can be opened ({error}); use render_mode="rgb_array", or set SDL_VIDEODRIVER=dummy'
            ) from error
        pygame.display.set_caption(self.title)
        self._clock = pygame.time.Clock()
        self._frame_size = size

    def _take_events(self) -> None:
        pygame = self._pygame
        kept = (pygame.KEYDOWN, pygame.KEYUP, pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP)
        if any(event.type in (pygame.QUIT, pygame.WINDOWCLOSE) for event in pygame.event.get(exclude=kept)):
            self.closed = True
            self.close()

    def close(self) -> None:
        """Close the window if it is open. A later `show` opens it again, unless the user closed it."""
        if self._screen is not None:
            self._screen = None
            self._pygame.display.quit()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
