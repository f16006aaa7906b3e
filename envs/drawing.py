"""Pictures of a puzzle being solved, written once for all families: `draw` paints pixels, `text` writes characters.

A `Scene` says what is to be seen. `draw` puts the question on the left and the draft on the right, with the step, the
agent's halt and continue values and the verdict around them. Everything that stays the same from frame to frame (the
tiles of all values, the question's panel, the demonstrations) is painted once and kept, so that a frame costs a copy
and the tiles of the draft. pygame only rasterises letters; no display is opened and no surface is drawn on.

What right and wrong look like never rests on hue alone: a wrong value carries a corner mark or a cross, the verdict a
symbol and a word.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from hrm_gym.envs.errors import ConfigError, PuzzleError
from hrm_gym.envs.family import CellStyle, Family

Colour = tuple[int, int, int]
_Grid = tuple[tuple[int, int], bytes]  # a grid as a hashable key: its shape and its bytes

VERDICTS = ("verified", "arrived", "wrong", "out of steps")
SMALLEST, LARGEST = 120, 4096  # board sides between which the layout is known to hold

BACKGROUND: Colour = (250, 249, 246)
WHITE: Colour = (255, 255, 255)
INK: Colour = (33, 37, 41)
MUTED: Colour = (104, 111, 119)
FAINT: Colour = (228, 226, 220)
GRID_LINE: Colour = (150, 154, 158)
BOX_LINE: Colour = (52, 56, 61)
CLUE_FILL: Colour = (239, 238, 233)
AGENT_INK: Colour = (24, 92, 204)
CHANGED_TINT: Colour = (255, 238, 158)
CHANGED_RING: Colour = (255, 205, 0)
WRONG_TINT: Colour = (255, 214, 207)
WRONG_INK: Colour = (190, 24, 32)
CURSOR: Colour = (126, 34, 190)
HALT: Colour = (0, 124, 137)
CONTINUE: Colour = (122, 134, 148)
# fill and ink of the verdict's banner; the luminances differ too, for those who do not see the hues
BANNERS: dict[str | None, tuple[Colour, Colour]] = {
    None: (FAINT, MUTED),
    "verified": ((0, 122, 84), WHITE),
    "arrived": ((24, 92, 204), WHITE),
    "wrong": ((190, 24, 32), WHITE),
    "out of steps": ((247, 178, 42), INK),
}


@dataclass(frozen=True)
class Scene:
    """What is to be seen at one step of one episode.

    Attributes:
        family: how values look.
        question: uint8[H, W], values 0..V-1.
        draft: uint8[H, W], values 0..V-1.
        previous: uint8[H, W], the draft one step earlier; cells that differ are drawn as changed. None: nothing is.
        wrong: bool[H, W], cells of the draft to draw as wrong. None: none is.
        step: steps taken so far.
        max_steps: steps allowed.
        attempts_left: halts that may still be tried.
        verdict: None while thinking, else "verified", "wrong", "out of steps" or (a walk that is no shortest path) "arrived".
        halt_value: 0..1, the agent's value of halting; None if it gives none. Values outside are drawn at the nearer end.
        continue_value: 0..1, the same for continuing.
        demonstrations: pairs of grids uint8[h, w] of any size, shown as small pictures (ARC).
        title: what stands above, beside the family's name and size: the puzzle's id, say; cut short where it is too long.
        cursor: (row, column) of a highlighted cell of the draft, or None.
    """

    family: Family
    question: np.ndarray
    draft: np.ndarray
    previous: np.ndarray | None = None
    wrong: np.ndarray | None = None
    step: int = 0
    max_steps: int = 16
    attempts_left: int = 1
    verdict: str | None = None
    halt_value: float | None = None
    continue_value: float | None = None
    demonstrations: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    title: str = ""
    cursor: tuple[int, int] | None = None


# -- the scene's parts ---------------------------------------------------------------------------------------------------


def _checked(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """question, draft, changed and wrong, checked: uint8[H, W], uint8[H, W], bool[H, W] or None, bool[H, W] or None."""
    family = scene.family
    question = family.check_grids(scene.question, "question")[0]
    draft = family.check_grids(scene.draft, "draft")[0]
    changed = None if scene.previous is None else family.check_grids(scene.previous, "previous draft")[0] != draft
    wrong = None if scene.wrong is None else np.asarray(scene.wrong, dtype=bool)
    if wrong is not None and wrong.shape != family.shape:
        raise PuzzleError(f"wrong has shape {wrong.shape}; expected one flag per cell, {family.shape}")
    if scene.verdict is not None and scene.verdict not in VERDICTS:
        raise ConfigError(f"verdict {scene.verdict!r} is unknown; expected None or one of {', '.join(map(repr, VERDICTS))}")
    if scene.cursor is not None:
        row, column = scene.cursor
        if not (0 <= row < family.shape[0] and 0 <= column < family.shape[1]):
            raise PuzzleError(f"cursor {scene.cursor} is off the board; expected a row and column inside {family.shape}")
    return question, draft, changed, wrong


def _demonstration_keys(scene: Scene) -> tuple[tuple[_Grid, _Grid], ...]:
    """The demonstrations as they are given, in a form that can be looked up in a cache."""
    return tuple((_demonstration_key(given), _demonstration_key(made)) for given, made in scene.demonstrations)


def _demonstration_key(grid: Any) -> _Grid:
    array = np.asarray(grid)
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise PuzzleError(f"a demonstration is {array.dtype}{list(array.shape)}; expected a grid uint8[height, width]")
    if array.dtype != np.uint8:
        array = np.clip(array, 0, 255).astype(np.uint8)  # what is out of range stays so for every family of fewer values
    return (array.shape[0], array.shape[1]), array.tobytes()


def _demonstration(key: _Grid, values: int, blank: int) -> np.ndarray:
    """A demonstration's grid, uint8[h, w], without the blank rows and columns that pad it."""
    grid = _grid_of(key)
    if grid.max() >= values:
        raise PuzzleError(f"a demonstration has the value {grid.max()}; expected values 0..{values - 1}")
    inside = grid != blank
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else grid


def _grid_of(key: _Grid) -> np.ndarray:
    return np.frombuffer(key[1], dtype=np.uint8).reshape(key[0])


def _titles(scene: Scene) -> tuple[str, str]:
    """The heading, the family's name and size, and the scene's own title beside it; one alone where they would repeat."""
    name = scene.family.name
    if scene.title.casefold().startswith(name.casefold()):
        return scene.title, ""
    height, width = scene.family.shape
    return f"{name.upper() if len(name) <= 3 else name.capitalize()} {height} x {width}", scene.title


def _progress_words(step: int, max_steps: int, attempts_left: int) -> str:
    attempts = "no attempt" if attempts_left == 0 else "1 attempt" if attempts_left == 1 else f"{attempts_left} attempts"
    return f"step {step} of {max_steps} · {attempts} left"


def _unit(value: float | None) -> float | None:
    """A value of halting or continuing as it is shown: 0..1, or None where there is none (or it is not a number)."""
    if value is None or math.isnan(value):
        return None
    return min(max(float(value), 0.0), 1.0)


# -- pixels: letters and shapes ------------------------------------------------------------------------------------------


def import_pygame() -> Any:
    """The pygame module, imported only when something is drawn or shown.

    Raises:
        gymnasium.error.DependencyNotInstalled: it is missing; names the line that installs it.
    """
    # pygame greets on standard output when first imported, which would spoil output that is piped on
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
        import pygame.font
        import pygame.surfarray
    except ImportError as error:
        from gymnasium.error import DependencyNotInstalled

        raise DependencyNotInstalled("pygame is not installed; drawing needs it: pip install pygame-ce") from error
    return pygame


@lru_cache(maxsize=4096)
def _letters(words: str, px: int) -> np.ndarray:
    """How much of each pixel the words cover, float32[h, w] in 0..1, in pygame's bundled font at nominal height px."""
    pygame = import_pygame()
    pygame.font.init()  # does nothing when it is on; a font object of our own would not outlive another's pygame.quit()
    clean = "".join(letter if letter.isprintable() else " " for letter in words)
    # Letters are set four times too large and averaged: at their own size hinting would move them apart unevenly.
    surface = pygame.font.Font(None, 4 * px).render(clean, True, (0, 0, 0))
    large = np.asarray(pygame.surfarray.array_alpha(surface).T, dtype=np.float32) / 255.0
    large = np.pad(large, [(0, -length % 4) for length in large.shape])
    coverage = large.reshape(large.shape[0] // 4, 4, large.shape[1] // 4, 4).mean(axis=(1, 3))
    coverage.flags.writeable = False
    return coverage


def _width_of(words: str, px: int) -> int:
    return int(_letters(words, px).shape[1])


@lru_cache(maxsize=1024)
def _fitted(words: str, px: int, width: int) -> str:
    """The words, shortened with an ellipsis so that they take at most `width` pixels."""
    if _width_of(words, px) <= width:
        return words
    kept = len(words)
    while kept > 0 and _width_of(words[:kept].rstrip() + "…", px) > width:
        kept -= 1
    return words[:kept].rstrip() + "…"


@lru_cache(maxsize=4096)
def _words_picture(words: str, px: int, ink: Colour, background: Colour) -> np.ndarray:
    """The words as a finished picture, uint8[h, w, 3]."""
    coverage = _letters(words, px)
    picture = _plain(coverage.shape[0], coverage.shape[1], background)
    _over(picture, ink, coverage)
    return picture


def _plain(height: int, width: int, colour: Colour) -> np.ndarray:
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = colour
    return picture


def _over(picture: np.ndarray, ink: Colour, coverage: np.ndarray) -> None:
    """Lay ink over a picture uint8[h, w, 3], in place, as far as coverage float[h, w] says."""
    weight = coverage[..., None]
    picture[:] = np.rint(picture * (1.0 - weight) + np.asarray(ink, dtype=np.float32) * weight).astype(np.uint8)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _strokes(height: int, width: int, lines: list[tuple[float, float, float, float]], thickness: float) -> np.ndarray:
    """Coverage of straight round-ended strokes; lines are (y, x, y, x) in units of the picture's height and width."""
    y = (np.arange(height) + 0.5)[:, None]
    x = (np.arange(width) + 0.5)[None, :]
    nearest = np.full((height, width), np.inf)
    for top, left, bottom, right in lines:
        y0, x0, dy, dx = top * height, left * width, (bottom - top) * height, (right - left) * width
        along = np.clip(((y - y0) * dy + (x - x0) * dx) / max(dy * dy + dx * dx, 1e-9), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(y - y0 - along * dy, x - x0 - along * dx))
    return np.clip(thickness / 2 - nearest + 0.5, 0.0, 1.0)


@lru_cache(maxsize=2048)
def _pill(height: int, width: int, colour: Colour, background: Colour, radius: int) -> np.ndarray:
    """A box with rounded corners, uint8[h, w, 3]."""
    picture = _plain(height, width, background)
    y = np.abs(np.arange(height) + 0.5 - height / 2)[:, None] - (height / 2 - radius)
    x = np.abs(np.arange(width) + 0.5 - width / 2)[None, :] - (width / 2 - radius)
    outside = np.hypot(np.maximum(y, 0), np.maximum(x, 0)) + np.minimum(np.maximum(y, x), 0) - radius
    _over(picture, colour, np.clip(0.5 - outside, 0.0, 1.0))
    return picture


def _paste(picture: np.ndarray, top: int, left: int, part: np.ndarray) -> None:
    picture[top : top + part.shape[0], left : left + part.shape[1]] = part


# symbols of the verdicts, as strokes in the unit square
_SYMBOLS: dict[str, list[tuple[float, float, float, float]]] = {
    "verified": [(0.55, 0.12, 0.82, 0.38), (0.82, 0.38, 0.22, 0.88)],
    "arrived": [(0.5, 0.12, 0.5, 0.86), (0.22, 0.56, 0.5, 0.86), (0.78, 0.56, 0.5, 0.86)],
    "wrong": [(0.2, 0.2, 0.8, 0.8), (0.2, 0.8, 0.8, 0.2)],
    "out of steps": [(0.15, 0.22, 0.15, 0.78), (0.85, 0.22, 0.85, 0.78), (0.15, 0.25, 0.85, 0.75), (0.15, 0.75, 0.85, 0.25)],
}


@lru_cache(maxsize=64)
def _banner(verdict: str | None, height: int, width: int, px: int) -> np.ndarray:
    """The verdict's banner: a symbol and a word, uint8[h, w, 3]."""
    fill, ink = BANNERS[verdict]
    picture = _pill(height, width, fill, BACKGROUND, max(3, height // 6)).copy()
    words = _words_picture(verdict or "thinking", px, ink, fill)
    side = round(0.62 * px)
    gap = round(0.3 * px)
    symbol = _SYMBOLS.get(verdict or "")
    left = (width - words.shape[1] - (side + gap if symbol else 0)) // 2
    if symbol:
        top = (height - side) // 2
        _over(picture[top : top + side, left : left + side], ink, _strokes(side, side, symbol, max(2.0, side * 0.15)))
        left += side + gap
    _paste(picture, (height - words.shape[0]) // 2, left, words)
    return picture


@lru_cache(maxsize=512)
def _progress(height: int, width: int, step: int, max_steps: int) -> np.ndarray:
    """The steps as a row of dashes, those taken in ink; one plain bar where there are too many to tell apart."""
    picture = _plain(height, width, BACKGROUND)
    gap = max(2, height // 2)
    if 1 <= max_steps <= width // (4 * gap):
        for number in range(max_steps):
            start = number * (width + gap) // max_steps
            stop = (number + 1) * (width + gap) // max_steps - gap
            picture[:, start:stop] = MUTED if number < step else FAINT
    else:
        picture[:] = FAINT
        picture[:, : round(width * min(max(step / max(max_steps, 1), 0.0), 1.0))] = MUTED
    return picture


# -- pixels: tiles -------------------------------------------------------------------------------------------------------


def _luminance(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _is_paper(fill: Colour) -> bool:
    """Whether a fill is near white, so that a tint shows on it; other fills keep their colour and take rings and crosses."""
    return _luminance(fill) > 205 and max(fill) - min(fill) < 36


def _ring(tile: np.ndarray, inset: int, thickness: int, colour: Colour) -> None:
    inner = tile[inset : tile.shape[0] - inset, inset : tile.shape[1] - inset]
    for edge in (inner[:thickness], inner[-thickness:], inner[:, :thickness], inner[:, -thickness:]):
        edge[:] = colour


def _tile(style: CellStyle, pitch: int, letter_px: int, given: bool, changed: bool, wrong: bool) -> np.ndarray:
    """One cell, uint8[pitch, pitch, 3]. Its top and left pixel rows are the thin grid lines."""
    paper = _is_paper(style.fill)
    fill = style.fill
    if paper and wrong:
        fill = WRONG_TINT
    elif paper and changed:
        fill = CHANGED_TINT
    elif paper and given and style.text:
        fill = CLUE_FILL
    if pitch < 6:  # too small for lines, marks or letters: flat colour alone
        if wrong or changed:
            fill = _mix(style.fill, WRONG_INK if wrong else CHANGED_RING, 0.65)
        return _plain(pitch, pitch, fill)
    tile = _plain(pitch, pitch, fill)
    tile[0, :] = tile[:, 0] = _mix(fill, GRID_LINE, 0.5 if paper else 0.3)
    face = tile[1:, 1:]  # what lies inside the lines
    side = len(face)

    thickness = max(1, round(side * 0.11))
    inset = 0
    if changed and (wrong or not paper):
        yellow = np.abs(np.subtract(style.fill, CHANGED_RING)).sum() < 120
        _ring(face, 0, thickness, INK if yellow else CHANGED_RING)
        inset = thickness
    if wrong and not paper:
        _ring(face, inset, thickness, WRONG_INK)
        inset += thickness
    if inset and not paper and not style.text and side - 2 * inset >= 8:
        _ring(face, inset, 1, INK if _luminance(style.fill) > 90 else BACKGROUND)  # keeps the ring apart from a like fill

    if style.text:
        if not paper:
            ink = INK if _luminance(style.fill) > 140 else WHITE
        else:
            ink = INK if given else WRONG_INK if wrong else AGENT_INK
        letters = _letters(style.text, letter_px)
        letters = letters[letters.any(axis=1)][:, letters.any(axis=0)]  # centred by what is inked, not by the line of text
        height, width = min(letters.shape[0], side), min(letters.shape[1], side)
        top, left = (side - height + 1) // 2, (side - width + 1) // 2
        _over(face[top : top + height, left : left + width], ink, letters[:height, :width])

    if wrong and style.text:
        corner = min(max(3, round(side * 0.26)), side - inset)
        y, x = np.mgrid[0:corner, 0:corner]
        _over(face[inset : inset + corner, side - inset - corner : side - inset], WRONG_INK, (x >= y).astype(np.float32))
    elif wrong:
        cross = [(0.28, 0.28, 0.72, 0.72), (0.28, 0.72, 0.72, 0.28)]
        stroke = max(1.2, side * 0.13)
        if paper:
            _over(face, WRONG_INK, _strokes(side, side, cross, stroke))
        else:
            light = _luminance(style.fill) <= 150
            if side >= 12:
                _over(face, INK if light else WHITE, _strokes(side, side, cross, stroke + 2.0))
            _over(face, WHITE if light else WRONG_INK, _strokes(side, side, cross, stroke))
    return tile


def _letter_px(styles: tuple[CellStyle, ...], pitch: int) -> int:
    """One letter size for all values, so that the widest still leaves room at both sides."""
    widest = max((style.text for style in styles), key=lambda text: _width_of(text, 100), default="")
    px = round(pitch * 1.02)
    while widest and px > 8 and _width_of(widest, px) > 0.78 * pitch:
        px -= 1
    return px


# -- pixels: the layout --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """What of a family the pictures depend on; equal looks share their tiles."""

    name: str
    shape: tuple[int, int]
    values: int
    blank: int
    styles: tuple[CellStyle, ...]
    box: tuple[int, int] | None


class _Painter:
    """Where everything stands at one size, and the tiles. Made once for each look and size."""

    def __init__(self, look: _Look, size: int, has_demonstrations: bool) -> None:
        self.look = look
        rows, columns = look.shape
        unit = size / 480
        self.pitch = pitch = max(1, size // max(rows, columns))
        self.border = border = max(2, round(3 * unit))
        self.board = (rows * pitch, columns * pitch)
        self.margin = margin = max(8, round(20 * unit))
        self.gap = max(6, round(14 * unit)) * 2  # even, so that the whole width is (video encoders ask for it)
        self.panel = max(columns * pitch + 2 * border, size * 3 // 4)
        self.width = 2 * margin + 2 * self.panel + self.gap
        self.inner = self.width - 2 * margin
        self.title_px = max(20, round(31 * unit))
        self.label_px = max(16, round(23 * unit))
        self.verdict_px = max(19, round(30 * unit))
        self.title_line, self.label_line = (_letters("Ag", px).shape[0] for px in (self.title_px, self.label_px))

        space = max(5, round(10 * unit))
        self.title_top = max(6, round(14 * unit))
        # on the title's base line, which lies at 0.81 of a line's height in this font
        self.small_title_top = self.title_top + round(0.81 * (self.title_line - self.label_line))
        self.progress_top = self.title_top + self.title_line + space // 2
        self.progress_height = max(3, round(5 * unit))
        below = self.progress_top + self.progress_height + space
        self.strip_label_top = below
        self.strip_top = below + self.label_line + space // 2
        self.strip_height = round(0.33 * size)
        if has_demonstrations:
            below = self.strip_top + self.strip_height + space
        self.label_top = below
        self.board_top = below + self.label_line + space // 2 + border
        self.board_left = tuple(left + (self.panel - columns * pitch) // 2 for left in (margin, margin + self.panel + self.gap))
        self.footer_top = self.board_top + rows * pitch + border + space
        self.row_height = self.label_line + max(2, round(4 * unit))
        self.footer_height = 2 * self.row_height
        self.height = self.footer_top + self.footer_height + margin * 3 // 4
        self.height += self.height % 2

        letter_px = _letter_px(look.styles, pitch)
        # value + V * (given + 2 * changed + 4 * wrong)
        self.tiles = np.stack(
            [
                _tile(style, pitch, letter_px, bool(state & 1), bool(state & 2), bool(state & 4))
                for state in range(8)
                for style in look.styles
            ]
        )

    def question_numbers(self, question: np.ndarray) -> np.ndarray:
        """The tile numbers of the question as it is given, int[H, W]."""
        return question + self.look.values * (question != self.look.blank).astype(np.intp)

    def paint_frame(self, picture: np.ndarray, left: int) -> None:
        """The border of the board whose first cell starts at column `left`."""
        (height, width), border, top = self.board, self.border, self.board_top
        colour = BOX_LINE if self.look.box else GRID_LINE
        outer = picture[top - border : top + height + border, left - border : left + width + border]
        for edge in (outer[:border], outer[-border:], outer[:, :border], outer[:, -border:]):
            edge[:] = colour

    def paint_board(self, picture: np.ndarray, left: int, numbers: np.ndarray, there: np.ndarray | None = None) -> None:
        """The cells, by their tile numbers int[H, W], and the box lines over them.

        `there` are the tile numbers already painted in the picture: only cells that differ are painted anew.
        """
        (rows, columns), pitch = self.look.shape, self.pitch
        top, (height, width) = self.board_top, self.board
        area = picture[top : top + height, left : left + width]
        places = np.argwhere(numbers != there) if there is not None else np.argwhere(np.ones(numbers.shape, dtype=bool))
        if len(places) <= 256:
            tiles = self.tiles
            for (row, column), number in zip(places.tolist(), numbers[tuple(places.T)].tolist(), strict=True):
                area[row * pitch : (row + 1) * pitch, column * pitch : (column + 1) * pitch] = tiles[number]
        else:  # row by row: many small copies would cost more
            for row in range(rows):
                band = self.tiles[numbers[row]].swapaxes(0, 1).reshape(pitch, width, 3)
                area[row * pitch : (row + 1) * pitch] = band
        if self.look.box:
            back = self.border // 2
            for row in range(self.look.box[0], rows, self.look.box[0]):
                area[row * pitch - back : row * pitch - back + self.border] = BOX_LINE
            for column in range(self.look.box[1], columns, self.look.box[1]):
                area[:, column * pitch - back : column * pitch - back + self.border] = BOX_LINE

    def paint_cursor(self, picture: np.ndarray, row: int, column: int) -> None:
        thickness = max(2, self.pitch // 9)
        top, left = self.board_top + row * self.pitch, self.board_left[1] + column * self.pitch
        cell = picture[top - 1 : top + self.pitch + 2, left - 1 : left + self.pitch + 2]
        _ring(cell, 0, thickness, CURSOR)
        if self.pitch >= 14:
            _ring(cell, thickness, 1, WHITE)

    def paint_demonstrations(self, picture: np.ndarray, pairs: tuple[tuple[_Grid, _Grid], ...]) -> None:
        """The pairs in as many columns as make the pictures largest."""
        count = len(pairs)
        gap = max(8, self.gap // 2)
        arrow = max(12, round(self.strip_height * 0.16))

        def side_of(columns: int) -> int:
            rows = -(-count // columns)
            tall = (self.strip_height - (rows - 1) * gap // 2) // rows
            return min(tall, ((self.inner + gap) // columns - gap - arrow) // 2)

        columns = max(range(1, count + 1), key=side_of)
        side, rows = side_of(columns), -(-count // columns)
        slot_width, slot_height = (self.inner + gap) // columns, (self.strip_height + gap // 2) // rows
        slot_width = min(slot_width, 2 * side + arrow + 3 * gap)  # few pairs stay together at the left
        for number, pair in enumerate(pairs):
            left = self.margin + number % columns * slot_width
            top = self.strip_top + number // columns * slot_height
            given, made = (_demonstration(key, self.look.values, self.look.blank) for key in pair)
            cell = (side - 2) // max(*given.shape, *made.shape)
            pictures = [self._small(grid, cell, side - 2) for grid in (given, made)]
            middle = top + side // 2
            _paste(picture, middle - pictures[0].shape[0] // 2, left, pictures[0])
            left += pictures[0].shape[1]
            strokes = [(0.5, 0.2, 0.5, 0.8), (0.35, 0.6, 0.5, 0.8), (0.65, 0.6, 0.5, 0.8)]
            place = picture[middle - arrow // 2 : middle - arrow // 2 + arrow, left : left + arrow]
            _over(place, MUTED, _strokes(arrow, arrow, strokes, max(1.5, arrow * 0.09)))
            _paste(picture, middle - pictures[1].shape[0] // 2, left + arrow, pictures[1])

    def _small(self, grid: np.ndarray, cell: int, side: int) -> np.ndarray:
        """A grid as a small framed picture; cells are `cell` pixels, or fewer than all are shown where that is none."""
        fills = np.array([style.fill for style in self.look.styles], dtype=np.uint8)
        if cell >= 1:
            inner = fills[grid].repeat(cell, axis=0).repeat(cell, axis=1)
        else:
            rows, columns = (np.arange(min(side, length)) * length // min(side, length) for length in grid.shape)
            inner = fills[grid[rows][:, columns]]
        if cell >= 5:
            for lines in (inner[cell::cell], inner[:, cell::cell]):
                lines[:] = np.rint(lines * 0.7 + np.array(GRID_LINE) * 0.3).astype(np.uint8)
        framed = _plain(inner.shape[0] + 2, inner.shape[1] + 2, GRID_LINE)
        framed[1:-1, 1:-1] = inner
        return framed

    def paint_words(self, picture: np.ndarray, top: int, left: int, words: str, px: int, ink: Colour) -> None:
        _paste(picture, top, left, _words_picture(words, px, ink, BACKGROUND))

    def paint_legend(self, picture: np.ndarray, kinds: tuple[str, ...]) -> None:
        """What the marks mean, at the right above the draft."""
        right = self.width - self.margin
        taken = self.margin + self.panel + self.gap + _width_of("draft", self.label_px)
        side = round(self.label_line * 0.72)
        blank = self.look.styles[self.look.blank]
        fill = blank.fill if _is_paper(blank.fill) else WHITE
        for kind in kinds:
            words = _words_picture(kind, self.label_px, MUTED, BACKGROUND)
            if right - words.shape[1] - 2 * side < taken:
                break  # a board this small has no room to say it
            right -= words.shape[1]
            _paste(picture, self.label_top, right, words)
            right -= side + max(4, self.label_px // 4)
            swatch = _tile(CellStyle("", fill, " "), side, 0, False, kind == "changed", kind == "wrong")
            _ring(swatch, 0, 1, GRID_LINE)
            _paste(picture, self.label_top + (self.label_line - side) // 2, right, swatch)
            right -= max(8, self.label_px // 2)

    def paint_value(self, picture: np.ndarray, row: int, words: str, value: float, colour: Colour) -> None:
        """One bar of the agent's values, under the question."""
        px, line = self.label_px, self.label_line
        top = self.footer_top + row * self.row_height + (self.row_height - line) // 2
        label_width, number_width = _width_of("continue", px), _width_of("0.00", px)
        space = max(6, px // 2)
        left = self.margin + label_width + space
        width = self.panel - label_width - number_width - 2 * space
        height = max(6, round(line * 0.62))
        bar_top = top + (line - height) // 2
        self.paint_words(picture, top, self.margin, words, px, INK)
        _paste(picture, bar_top, left, _pill(height, width, FAINT, BACKGROUND, height // 2))
        filled = round(width * value)
        if filled:
            # a rounded end needs its height in width; a smaller value is shown by its number and a dot
            _paste(picture, bar_top, left, _pill(height, max(filled, height), colour, BACKGROUND, height // 2))
        self.paint_words(picture, top, left + width + space, f"{value:.2f}", px, INK)


@lru_cache(maxsize=8)
def _painter(look: _Look, size: int, has_demonstrations: bool) -> _Painter:
    return _Painter(look, size, has_demonstrations)


def _painter_of(scene: Scene, size: int) -> _Painter:
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(f"size {size} is out of range; expected a board side of {SMALLEST} to {LARGEST} pixels")
    family = scene.family
    box = None if family.box is None else (family.box[0], family.box[1])
    look = _Look(family.name, (family.shape[0], family.shape[1]), family.values, family.blank, tuple(family.styles), box)
    return _painter(look, int(size), bool(scene.demonstrations))


@lru_cache(maxsize=8)
def _still(
    painter: _Painter,
    titles: tuple[str, str],
    question_key: _Grid,
    demonstrations: tuple[tuple[_Grid, _Grid], ...],
    max_steps: int,
    legend: tuple[str, ...],
) -> np.ndarray:
    """All that stays the same while one puzzle is being solved: title, labels, demonstrations, the question's board."""
    picture = _plain(painter.height, painter.width, BACKGROUND)
    widest = _width_of(_progress_words(max_steps, max_steps, 10), painter.label_px)
    room = painter.inner - widest - painter.gap
    heading = _fitted(titles[0], painter.title_px, room)
    painter.paint_words(picture, painter.title_top, painter.margin, heading, painter.title_px, INK)
    beside = _width_of(heading, painter.title_px) + painter.label_px // 2
    if titles[1] and room - beside > _width_of("…", painter.label_px):
        words = _fitted(titles[1], painter.label_px, room - beside)
        painter.paint_words(picture, painter.small_title_top, painter.margin + beside, words, painter.label_px, MUTED)
    if demonstrations:
        painter.paint_words(picture, painter.strip_label_top, painter.margin, "demonstrations", painter.label_px, MUTED)
        painter.paint_demonstrations(picture, demonstrations)
    right_panel = painter.margin + painter.panel + painter.gap
    for left, words in ((painter.margin, "question"), (right_panel, "draft")):
        painter.paint_words(picture, painter.label_top, left, words, painter.label_px, MUTED)
    painter.paint_legend(picture, legend)
    numbers = painter.question_numbers(_grid_of(question_key))
    for left in painter.board_left:  # the draft starts as the question: what it does not change need not be painted again
        painter.paint_frame(picture, left)
        painter.paint_board(picture, left, numbers)
    return picture


# -- the two pictures ----------------------------------------------------------------------------------------------------


def draw(scene: Scene, size: int = 480) -> np.ndarray:
    """The scene in pixels. Opens no display and needs none.

    Args:
        scene: what to show.
        size: the board's side in pixels, 120..4096, rounded down to whole cells. 240 and more reads well for every family.

    Returns:
        uint8[height, width, 3], a new array; height and width are even and depend only on the family, the size and whether
        there are demonstrations, so that the frames of an episode fit together in a film.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
        PuzzleError: a grid that does not fit the family, or a cursor off the board.
        ConfigError: an unknown verdict or a size out of range.
    """
    question, draft, changed, wrong = _checked(scene)
    painter = _painter_of(scene, size)
    legend = (() if wrong is None else ("wrong",)) + (() if changed is None else ("changed",))
    key = ((question.shape[0], question.shape[1]), question.tobytes())
    still = _still(painter, _titles(scene), key, _demonstration_keys(scene), scene.max_steps, legend)
    picture = still.copy()

    state = ((question != painter.look.blank) & (question == draft)).astype(np.intp)
    if changed is not None:
        state += 2 * changed
    if wrong is not None:
        state += 4 * wrong
    numbers = draft + painter.look.values * state
    painter.paint_board(picture, painter.board_left[1], numbers, there=painter.question_numbers(question))
    if scene.cursor is not None:
        painter.paint_cursor(picture, *scene.cursor)

    words = _progress_words(scene.step, scene.max_steps, scene.attempts_left)
    px = painter.label_px
    label = _words_picture(_fitted(words, px, painter.inner), px, MUTED, BACKGROUND)
    _paste(picture, painter.small_title_top, painter.width - painter.margin - label.shape[1], label)
    bar = _progress(painter.progress_height, painter.inner, scene.step, scene.max_steps)
    _paste(picture, painter.progress_top, painter.margin, bar)

    for row, (name, value, colour) in enumerate(
        (("halt", _unit(scene.halt_value), HALT), ("continue", _unit(scene.continue_value), CONTINUE))
    ):
        if value is not None:
            painter.paint_value(picture, row, name, value, colour)
    banner = _banner(scene.verdict, painter.footer_height, painter.panel, painter.verdict_px)
    _paste(picture, painter.footer_top, painter.margin + painter.panel + painter.gap, banner)
    return picture


def cell_box(scene: Scene, row: int, column: int, size: int = 480, panel: str = "draft") -> tuple[int, int, int, int]:
    """Where a cell lies in `draw(scene, size)`: (top, left, height, width) in pixels.

    Args:
        scene: the scene that is drawn.
        row: 0..H-1.
        column: 0..W-1.
        size: as given to `draw`.
        panel: "question" or "draft".
    """
    painter = _painter_of(scene, size)
    left = painter.board_left[("question", "draft").index(panel)]
    return painter.board_top + row * painter.pitch, left + column * painter.pitch, painter.pitch, painter.pitch


def words_picture(words: str, px: int, ink: Colour = INK, background: Colour = BACKGROUND, width: int = LARGEST) -> np.ndarray:
    """One line of words, for what stands beside a scene, such as a player's help: uint8[h, w, 3].

    Args:
        words: cut short with an ellipsis where they would take more than `width` pixels.
        px: nominal height of the letters in pixels, 1 or more.

    Raises:
        gymnasium.error.DependencyNotInstalled: pygame is missing.
    """
    return _words_picture(_fitted(words, px, width), px, ink, background).copy()


_PLAIN, _RED, _GREEN, _YELLOW, _REVERSED = "\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[7m"


def text(scene: Scene) -> str:
    """The scene in characters, question and draft side by side; several lines, no newline at the end.

    Changed cells are yellow, wrong ones red and the cursor reversed, by ANSI codes; how many are changed and wrong stands
    below in words. The demonstrations are written at step 0 only: they do not change while the puzzle is being solved.

    Raises:
        PuzzleError: a grid that does not fit the family, or a cursor off the board.
        ConfigError: an unknown verdict.
    """
    question, draft, changed, wrong = _checked(scene)
    family = scene.family
    codes = np.full(family.shape, "", dtype=object)
    if changed is not None:
        codes[changed] = _YELLOW
    if wrong is not None:
        codes[wrong] = _RED
    if scene.cursor is not None:
        codes[scene.cursor] += _REVERSED

    progress = _progress_words(scene.step, scene.max_steps, scene.attempts_left).replace(" ·", ",")
    lines = ["   ".join([*filter(None, _titles(scene)), progress])]
    if scene.demonstrations and scene.step == 0:
        for number, pair in enumerate(_demonstration_keys(scene), start=1):
            lines.append(f"demonstration {number}")
            grids = (_demonstration(key, family.values, family.blank) for key in pair)
            given, made = ([_characters(family, row) for row in grid] for grid in grids)
            lines += _beside(given, made, between="  ->  ")
    left, right = _text_board(family, question, None), _text_board(family, draft, codes)
    lines += _beside(["question", *left], ["draft", *right], between="     ")
    facts = []
    if changed is not None:
        facts.append(f"changed {int(changed.sum())}")
    if wrong is not None:
        facts.append(f"wrong {int(wrong.sum())}")
    for name, value in (("halt", _unit(scene.halt_value)), ("continue", _unit(scene.continue_value))):
        if value is not None:
            facts.append(f"{name} {value:.2f}")
    if facts:
        lines.append("   ".join(facts))
    colour = {None: "", "verified": _GREEN, "arrived": _GREEN, "wrong": _RED, "out of steps": _YELLOW}[scene.verdict]
    lines.append(f"{colour}{scene.verdict}{_PLAIN}" if scene.verdict else "thinking")
    return "\n".join(lines)


def _characters(family: Family, row: np.ndarray) -> str:
    return "".join(family.styles[value].character for value in row.tolist())


def _text_board(family: Family, grid: np.ndarray, codes: np.ndarray | None) -> list[str]:
    """The grid's lines; with box lines and spaces where the family has boxes (Sudoku), packed where it has none."""
    rows, columns = family.shape
    box_rows, box_columns = family.box or (rows, columns)
    space = " " if family.box else ""
    spans = [range(start, min(start + box_columns, columns)) for start in range(0, columns, box_columns)]
    lines = []
    for row in range(rows):
        if row and row % box_rows == 0:
            lines.append("-+-".join("-" * (2 * len(span) - 1) for span in spans))
        characters = [family.styles[value].character for value in grid[row].tolist()]
        marks = [""] * columns if codes is None else codes[row].tolist()
        groups = []
        for span in spans:
            runs = groupby(span, key=marks.__getitem__)  # neighbours with the same mark share one pair of codes
            words = [(code, space.join(characters[column] for column in run)) for code, run in runs]
            groups.append(space.join(f"{code}{word}{_PLAIN}" if code else word for code, word in words))
        lines.append(" | ".join(groups))
    return lines


def _visible(line: str) -> int:
    """How many columns a line takes on a terminal: the ANSI codes take none."""
    for code in (_PLAIN, _RED, _GREEN, _YELLOW, _REVERSED):
        line = line.replace(code, "")
    return len(line)


def _beside(left: list[str], right: list[str], between: str) -> list[str]:
    """Two blocks of lines side by side; the first sets its lines to equal width."""
    width = max(map(_visible, left))
    count = max(len(left), len(right))
    left, right = left + [""] * (count - len(left)), right + [""] * (count - len(right))
    filler = " " * len(between)
    return [
        f"{one}{' ' * (width - _visible(one))}{between if number == 0 or not between.strip() else filler}{other}".rstrip()
        for number, (one, other) in enumerate(zip(left, right, strict=True))
    ]
