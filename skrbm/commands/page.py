"""A page of HTML that needs nothing but itself: its pictures are in it, and it asks the network for nothing."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1.2rem; }}
h1 {{ font-size: 1.7rem; }}
h2 {{ font-size: 1.3rem; margin-top: 2.4rem; border-top: 1px solid #ddd; padding-top: 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ text-align: left; padding: 0.25rem 1.2rem 0.25rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }}
td {{ font-variant-numeric: tabular-nums; }}
figure {{ margin: 1rem 0; }} figcaption {{ color: #555; font-size: 0.92rem; }}
img {{ max-width: 100%; height: auto; }}
code {{ background: #f3f3f3; padding: 0.1rem 0.3rem; }}
.row {{ display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }}
.row > * {{ flex: 1 1 20rem; min-width: 0; }}
.film input {{ width: 100%; max-width: 30rem; display: block; }}
.film img {{ display: none; }}
.film img.shown {{ display: block; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<script>
for (const film of document.querySelectorAll(".film")) {{
  const frames = film.querySelectorAll("img");
  const [slider, label] = ["input", "output"].map((name) => film.querySelector(name));
  const show = () => {{
    frames.forEach((frame, i) => frame.classList.toggle("shown", i === Number(slider.value)));
    label.textContent = frames[slider.value].alt;
  }};
  slider.addEventListener("input", show);
  show();
}}
</script>
</body>
</html>
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page; `parts` are HTML."""
    return _PAGE.format(title=html.escape(title), body="\n".join(parts))


def paragraph(text: str, tag: str = "p") -> str:
    """Text, escaped, in an element."""
    return f"<{tag}>{html.escape(text)}</{tag}>"


def table(columns: Mapping[str, Mapping[str, str]], corner: str = "") -> str:
    """A table whose columns are by name, each of values by the names of the lines."""
    head = "".join(paragraph(name, "th") for name in (corner, *columns))
    body = []
    for line in dict.fromkeys(name for values in columns.values() for name in values):
        cells = "".join(paragraph(values.get(line, "-"), "td") for values in columns.values())
        body.append(f"<tr>{paragraph(line, 'th')}{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def picture(path: Path, caption: str) -> str:
    """A picture with its caption."""
    return f"<figure>{_image(path, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"


def film(frames: Mapping[str, Path], caption: str) -> str:
    """Pictures by their names, of which a slider chooses one; the last to begin with, and without a script."""
    names = list(frames)
    images = [_image(frames[name], name, "shown" if name == names[-1] else "") for name in names]
    slider = f'<input type="range" min="0" max="{len(names) - 1}" value="{len(names) - 1}" aria-label="epoch">'
    text = html.escape(caption)
    return f'<figure class="film">{slider}<output></output>{"".join(images)}<figcaption>{text}</figcaption></figure>'


def side_by_side(parts: Sequence[str]) -> str:
    """Parts beside each other where the window is wide enough."""
    return f'<div class="row">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def _image(path: Path, text: str, kind: str = "") -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    kind = f' class="{kind}"' if kind else ""
    return f'<img{kind} alt="{html.escape(text)}" src="data:image/png;base64,{data}">'
