"""One HTML file that says what a run did: figures first, then the curve, samples, stages, and every setting.

The file has no scripts and refers to nothing outside itself, so it opens anywhere and stays readable for years.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --accent: light-dark(#0b57d0, #8ab4f8); --ink: light-dark(#1d1d1f, #ececec);
  --soft: light-dark(#5c5c62, #a8a8ad); --line: light-dark(#e2e2e6, #38383c); --paper: light-dark(#fff, #161618); }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 52rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2.6rem 0 .8rem; }
p { margin: .4rem 0; } .soft, caption, dt small { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1.2rem; margin: 1.6rem 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
figure { margin: 0; } svg { width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
blockquote { margin: 0 0 1.1rem; padding: 0 0 0 1rem; border-left: 3px solid var(--accent); white-space: pre-wrap;
  overflow-wrap: anywhere; } blockquote b { font-weight: 600; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .4rem; font-size: .85rem; }
summary { cursor: pointer; }
"""


@dataclass(frozen=True)
class Figure:
    """One number that matters: what it is, its value as text, and a word on how to read it."""

    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Sample:
    """A prompt and what the model made of it."""

    prompt: str
    text: str


@dataclass(frozen=True)
class Section:
    """A titled table."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What the page shows. `chart` is an SVG element; `settings` any JSON-like tree; `commands` what to type next."""

    title: str
    summary: str
    figures: Sequence[Figure]
    chart: str
    samples: Sequence[Sample]
    sections: Sequence[Section]
    settings: Mapping[str, Any]
    commands: Sequence[str]


def table(section: Section) -> str:
    """A section's table; columns of numbers stand to the right, heading included."""

    def cells(tag: str, texts: Sequence[str], scope: str = "") -> str:
        marks = [" class=number" if right else "" for right in numeric]
        return "".join(f"<{tag}{scope}{mark}>{escape(text)}</{tag}>" for text, mark in zip(texts, marks, strict=True))

    numeric = [text[:1].isdigit() for text in section.rows[0]] if section.rows else [False] * len(section.head)
    head = cells("th", section.head, ' scope="col"')
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in section.rows)
    note = f"<p class=soft>{escape(section.note)}</p>" if section.note else ""
    body = f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    return f"<h2>{escape(section.title)}</h2>{note}{body}"


def toml_lines(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A tree of settings in the form in which a recipe file holds them; unset values as comments."""
    plain = {key: value for key, value in tree.items() if not isinstance(value, Mapping)}
    lines = [f"[{prefix}]"] if prefix and plain else []
    for key, value in plain.items():
        if value is None:
            lines.append(f"# {key}: not set")
        else:
            lines.append(f"{key} = {toml_value(value)}")
    for key, value in tree.items():
        if isinstance(value, Mapping):
            lines += [""] if lines else []
            lines += toml_lines(value, f"{prefix}.{key}" if prefix else key)
    return lines


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        control = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
        return '"' + "".join(control.get(letter, letter) for letter in value) + '"'
    return str(value)


def html(report: Report) -> str:
    """The page."""
    figures = "\n".join(
        f"<div><dt>{escape(figure.label)}</dt><dd>{escape(figure.value)}</dd>"
        f"<dt><small>{escape(figure.hint)}</small></dt></div>"
        for figure in report.figures
    )
    samples = "\n".join(
        f"<blockquote><b>{escape(sample.prompt)}</b>{escape(sample.text)}</blockquote>" for sample in report.samples
    )
    if samples:
        samples = f'<h2>Samples</h2>\n<p class="soft">The prompt is bold; the rest is the model\'s.</p>\n{samples}'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(report.title)}</h1>
<p class="soft">{escape(report.summary)}</p>
<dl>
{figures}
</dl>
<h2>Loss</h2>
<figure>{report.chart}</figure>
{samples}
{"".join(map(table, report.sections))}
<h2>Go on</h2>
<pre>{escape(chr(10).join(report.commands))}</pre>
<h2>Settings</h2>
<details><summary>Every setting, as a recipe file holds it</summary>
<pre>{escape(chr(10).join(toml_lines(report.settings)))}</pre></details>
</main>
</body>
</html>
"""
