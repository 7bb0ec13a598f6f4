"""What pages about runs are made of: the page itself, tables, images under a slider."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from traiNNer.tracking.report.pictures import Picture


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole page; empty parts are left out, `title` is text as HTML may hold it."""
    body = "\n".join(part for part in parts if part)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}{style}</style>'
    end = f"<script>{_SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n{end}</body></html>\n'


def table(titles: Iterable[str], rows: Iterable[str]) -> str:
    """A table of titles as they are and rows that begin with `<tr>`, as HTML."""
    head = "<tr>" + "".join(f"<th>{title}" for title in titles)
    return f"<table>{head}{''.join(rows)}</table>"


def figure(picture: Picture, caption: str, left: str, right: str) -> str:
    """An image upscaled in two ways under a slider, with their names; all texts as HTML may hold them."""
    return (
        f'<figure class="pair"><figcaption>{caption}</figcaption>'
        f'<div class="slider"><img src="{picture.after}" alt="{right}">'
        f'<img src="{picture.before}" alt="{left}" class="before">'
        f'<input type="range" min="0" max="100" value="50" aria-label="{left} left, {right} right">'
        "</div></figure>"
    )


def shown(value: Any) -> str:
    """A value in four digits, or as text that HTML may hold."""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; max-width: 1340px; margin: 2em auto; padding: 0 1em; }
.charts { display: flex; flex-wrap: wrap; gap: 1em; }
figure { margin: 0; flex: 1 1 560px; max-width: 660px; }
figcaption { font-weight: 600; } .key { font-weight: 400; font-size: 13px; margin-left: 1em; white-space: nowrap; }
.key i { display: inline-block; width: 12px; height: 3px; margin-right: 5px; vertical-align: middle; }
svg { width: 100%; } svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: var(--line); stroke-width: .5; }
.key i.block { height: 10px; }
.mark { opacity: .7; } .only { stroke-dasharray: 4 3; } .tick { opacity: .85; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: .25em .7em; border-bottom: 1px solid var(--line); }
tr.warning, tr.bad { background: #d9822b33; } pre { background: var(--soft); padding: 1em; overflow: auto; }
.slider { position: relative; display: inline-block; --at: 50%; }
.slider img { display: block; max-width: 100%; }
.slider .before { position: absolute; inset: 0; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.slider::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; }
.slider::after { background: #fffc; pointer-events: none; }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; }
.slider input { opacity: 0; cursor: ew-resize; }
"""

_SCRIPT = """
for (const input of document.querySelectorAll(".slider input"))
  input.addEventListener("input", () => input.parentElement.style.setProperty("--at", input.value + "%"));
"""
