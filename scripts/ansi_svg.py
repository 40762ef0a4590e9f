"""A terminal's screen as a picture: what `tmux capture-pane -e -p` prints, made into SVG.

Knows the attributes and colours that terminals' programs use (ECMA-48 SGR), and nothing else of their escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

FONT_SIZE = 14
#: Of one character; each run of text is stretched to it, whatever font there is.
WIDTH = 8.4
HEIGHT = 19
MARGIN = 16
TITLE_HEIGHT = 34

BACKGROUND = "#1d2129"
FOREGROUND = "#d5dae3"
BAR = "#2a303b"
QUIET = "#8a93a3"
#: The eight colours and their bright ones.
PALETTE = [
    *("#2e3440", "#e5676f", "#8fc77b", "#e6bf69", "#6ea7f0", "#c28ae0", "#5cc3cf", "#c8cdd6"),
    *("#5b6472", "#f08a90", "#abdc98", "#f2d38b", "#93c0f7", "#d6aaee", "#84dbe5", "#ffffff"),
]
_STEPS = (0, 95, 135, 175, 215, 255)
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_OTHER = re.compile(r"\x1b(\[[0-9;?]*[A-Za-ln-z]|[()][A-Z0-9]|\][^\x07]*\x07)|[\x0e\x0f]")


@dataclass(frozen=True)
class Style:
    """How characters look; colours are None where the terminal's own are meant."""

    foreground: str | None = None
    background: str | None = None
    bold: bool = False
    dim: bool = False
    underlined: bool = False
    reversed: bool = False


@dataclass(frozen=True)
class Run:
    """Characters of one style, from a column on."""

    column: int
    text: str
    style: Style


def svg(screen: str, title: str, columns: int) -> str:
    """The picture of a screen of that many columns in a window with this title."""
    lines = [_filled(list(runs), columns) for runs in _lines(screen)]
    while lines and not any(run.text.strip() or run.style.background for run in lines[-1]):
        lines.pop()
    used = (run.column + len(run.text if run.style.background else run.text.rstrip()) for runs in lines for run in runs)
    columns = max(used, default=0)
    width = columns * WIDTH + 2 * MARGIN
    height = len(lines) * HEIGHT + TITLE_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        f'<path d="M0 {TITLE_HEIGHT}V8a8 8 0 0 1 8-8H{width - 8:.0f}a8 8 0 0 1 8 8V{TITLE_HEIGHT}z" fill="{BAR}"/>',
        *(f'<circle cx="{20 + 18 * index}" cy="17" r="5.5" fill="#4a5361"/>' for index in range(3)),
        f'<g font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="{FONT_SIZE}">',
        f'<text x="{width / 2:.0f}" y="22" fill="{QUIET}" font-size="13" text-anchor="middle">{escape(title)}</text>',
    ]
    for number, runs in enumerate(lines):
        top = TITLE_HEIGHT + MARGIN + number * HEIGHT
        for run in runs:
            parts += _drawn(run, top)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _filled(runs: list[Run], columns: int) -> list[Run]:
    """With the rest of a line that was erased in a background: tmux tells no such rest."""
    if runs and (runs[-1].style.background or runs[-1].style.reversed):
        runs[-1] = replace(runs[-1], text=runs[-1].text.ljust(columns - runs[-1].column))
    return runs


def _drawn(run: Run, top: float) -> Iterator[str]:
    style = run.style
    foreground, background = style.foreground or FOREGROUND, style.background
    if style.reversed:
        foreground, background = background or BACKGROUND, foreground
    x = MARGIN + run.column * WIDTH
    if background is not None:
        width = len(run.text) * WIDTH
        # Without gaps between neighbours.
        place = f'x="{x:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}"'
        yield f'<rect {place} fill="{background}" shape-rendering="crispEdges"/>'
    attributes = ' font-weight="bold"' if style.bold else ""
    attributes += ' opacity="0.65"' if style.dim else ""
    attributes += ' text-decoration="underline"' if style.underlined else ""
    # Wide gaps are not left to the renderer: columns stay straight whatever it makes of spaces.
    for piece in re.finditer(r"\S+(?: \S+)*", run.text):
        start, length = x + piece.start() * WIDTH, len(piece[0]) * WIDTH
        yield (
            f'<text x="{start:.1f}" y="{top + 14}" fill="{foreground}" textLength="{length:.1f}" '
            f'lengthAdjust="spacingAndGlyphs"{attributes}>{escape(piece[0])}</text>'
        )


def _lines(screen: str) -> Iterator[Iterator[Run]]:
    """The runs of each line; a style lasts beyond the end of its line."""
    style = Style()
    for line in _OTHER.sub("", screen).split("\n"):
        runs, column = [], 0
        for index, piece in enumerate(_SGR.split(line)):
            if index % 2:
                style = _changed(style, [int(code or 0) for code in piece.split(";")])
            elif piece:
                runs.append(Run(column, piece, style))
                column += len(piece)
        yield iter(runs)


def _changed(style: Style, codes: list[int]) -> Style:
    while codes:
        code = codes.pop(0)
        match code:
            case 0:
                style = Style()
            case 1:
                style = replace(style, bold=True)
            case 2:
                style = replace(style, dim=True)
            case 4:
                style = replace(style, underlined=True)
            case 7:
                style = replace(style, reversed=True)
            case 22:
                style = replace(style, bold=False, dim=False)
            case 24:
                style = replace(style, underlined=False)
            case 27:
                style = replace(style, reversed=False)
            case _:
                style = _colored(style, code, codes)
    return style


def _colored(style: Style, code: int, codes: list[int]) -> Style:
    for base, name in ((30, "foreground"), (40, "background")):
        color: str | None
        if base <= code < base + 8:
            color = PALETTE[code - base]
        elif base + 60 <= code < base + 68:
            color = PALETTE[code - base - 52]
        elif code == base + 8:
            color = _extended(codes)
        elif code == base + 9:
            color = None
        else:
            continue
        return replace(style, **{name: color})  # type: ignore[arg-type]  # both are colours
    return style


def _extended(codes: list[int]) -> str:
    """One of 256 colours, or of all (ISO 8613-6)."""
    kind = codes.pop(0)
    if kind == 2:
        red, green, blue = (codes.pop(0) for _ in range(3))
        return f"#{red:02x}{green:02x}{blue:02x}"
    number = codes.pop(0)
    if number < 16:
        return PALETTE[number]
    if number >= 232:
        gray = 8 + 10 * (number - 232)
        return f"#{gray:02x}{gray:02x}{gray:02x}"
    number -= 16
    return f"#{_STEPS[number // 36]:02x}{_STEPS[number // 6 % 6]:02x}{_STEPS[number % 6]:02x}"
