"""HTML pages that need nothing else: one file, light or dark as the reader has it, without scripts or requests."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from retina.drawing import colours
from retina.drawing.figures import to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_JPEG_QUALITY = 82  # a picture of 440 pixels is about 40 kB


@dataclass(frozen=True)
class PageFigure:
    """A figure as it stands in a page."""

    name: str  # of its place, and of its file
    title: str
    caption: str
    svg: str  # one element, of our own making

    @classmethod
    def of(cls, figure: Figure, name: str, title: str, caption: str = "") -> PageFigure:
        """Return ``figure`` as a page shows it."""
        return cls(name, title, caption, to_svg(figure, name=name))


@dataclass(frozen=True)
class PageTable:
    """Numbers in columns."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def render_page(template: str, **content: Any) -> str:
    """Return the page that a file of ``templates/`` makes of ``content``: every text escaped, no name missing.

    A template extends ``base.html`` and uses the macros of ``parts.html``; a figure's SVG is the one thing that stands
    in a page as it is.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("retina.drawing"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture_uri"] = picture_uri
    names = ("BLUE", "VERMILLION", "SKY", "ORANGE")
    environment.globals["colours"] = {name.lower(): colours.hexadecimal(getattr(colours, name)) for name in names}
    return environment.get_template(template).render(**content) + "\n"


def picture_uri(picture: np.ndarray) -> str:
    """Return ``(H, W, 3)`` RGB pixels as the text of a JPEG that can stand in a page."""
    encoded, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded")
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")
