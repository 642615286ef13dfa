#!/usr/bin/env python3
"""Draws what a terminal shows as an SVG: text with SGR codes on standard input, the picture on standard output.

    tmux new-session -d -s picture -x 80 -y 30 'tcc chat smollm2 -t 0'       # and type
    tmux capture-pane -t picture -p -e | docs/images/terminal.py > docs/images/terminal.svg
"""
import re, sys, unicodedata
from xml.sax.saxutils import escape

CELL, LINE, MARGIN, BAR = 8.4, 18, 16, 28
NO_BREAK = "\u00a0"  # Browsers make one of several plain spaces.
COLOURS = {36: "#39c5cf", 32: "#7ee787", 33: "#e3b341", 31: "#ff7b72"}


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def runs(line, style):
    """Pieces of a line and their styles, which go on into the next line."""
    for i, part in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if i % 2 == 0:
            if part:
                yield part, dict(style)
            continue
        for code in (int(code or 0) for code in part.split(";")):
            if code == 0:
                style.clear()
            elif code == 39:
                style.pop("fill", None)
            elif code in COLOURS:
                style["fill"] = COLOURS[code]
            elif code in (1, 2):
                style.update({"font-weight": "bold"} if code == 1 else {"opacity": ".55"})


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    while lines and not re.sub(r"\x1b\[[\d;]*m", "", lines[-1]).strip():
        lines.pop()
    columns = 80
    w, h = columns * CELL + 2 * MARGIN, len(lines) * LINE + MARGIN + BAR
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#161b22"/>')
    for i, colour in enumerate(["#ff5f57", "#febc2e", "#28c840"]):
        print(f'<circle cx="{MARGIN + 4 + i * 18}" cy="16" r="5.5" fill="{colour}"/>')
    print('<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" fill="#e6edf3">')
    style = {}
    for row, line in enumerate(lines):
        column = 0
        for text, look in runs(line, style):
            x, y, length = MARGIN + column * CELL, BAR + (row + 1) * LINE, width(text) * CELL
            attributes = "".join(f' {key}="{value}"' for key, value in look.items())
            if text.strip():
                print(f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}"{attributes}>{escape(text).replace(" ", NO_BREAK)}</text>')
            column += width(text)
    print("</g>\n</svg>")


main()
