"""A figure as a piece of a page: SVG in the page's colours, or PNG where that is too large."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

from markupsafe import Markup
from matplotlib.figure import Figure

from tuning.report.look import GRID, INK, MUTED, PAPER, SWEEP_COLOURS, our_look

LARGEST_SVG = 3_000_000  # characters; 57 games of 5 seeds take a third of it
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_VARIABLES |= {colour: f"var(--sweep-{i})" for i, colour in enumerate(SWEEP_COLOURS, start=1)}
_COLOUR = re.compile("|".join(_VARIABLES))
_REFERENCE = re.compile(r"(?<=^#)|(?<=url\(#)")
_UNWANTED = ("metadata", "style")  # the first has links; the second would reach the whole page


def inline(figure: Figure, name: str, label: str) -> Markup:
    """The figure as markup that loads nothing.

    Args:
        figure: as `draw_figures` made it.
        name: begins every id, so that two figures of a page don't share one.
        label: what the picture shows, for who cannot see it.
    """
    svg = _svg(figure, name, label)
    if len(svg) <= LARGEST_SVG:
        return Markup(svg)
    stream = io.BytesIO()
    with our_look():
        figure.savefig(stream, format="png", dpi=120, facecolor="white")
    text = base64.b64encode(stream.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(label, text)


def _svg(figure: Figure, name: str, label: str) -> str:
    stream = io.BytesIO()
    with our_look():
        figure.savefig(stream, format="svg", facecolor="none")
    root = ET.fromstring(stream.getvalue())  # our own; leaves out comments
    for element in list(root.iter()):
        for child in list(element):
            if _local(child.tag) in _UNWANTED:
                element.remove(child)
        _localise(element, name)
    for size in ("width", "height"):
        del root.attrib[size]
    root.attrib |= {"role": "img", "aria-label": label}
    return ET.tostring(root, encoding="unicode")


def _localise(element: ET.Element, name: str) -> None:
    """Takes namespaces off, which HTML needs none of, and makes ids and colours the page's."""
    element.tag = _local(element.tag)
    attributes = {_local(key): value for key, value in element.attrib.items()}
    for key, value in attributes.items():
        value = _REFERENCE.sub(f"{name}-", value)
        attributes[key] = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
    if "id" in attributes:
        attributes["id"] = f"{name}-{attributes['id']}"
    element.attrib.clear()
    element.attrib.update(attributes)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
