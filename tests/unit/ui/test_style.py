"""Contrasts of both themes, and what the style sheet and the script may not do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import airflow_provider_pipetrack

UI = Path(airflow_provider_pipetrack.__file__).parent / "ui"
CSS = (UI / "static" / "pipetrack.css").read_text()
STATES = ("success", "failed", "running", "warned", "waiting", "skipped")


def themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", CSS)
    return {name.strip(): dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", body)) for name, body in blocks}


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", themes())
@pytest.mark.parametrize("ground", ["bg", "raised"])
class TestContrast:
    @pytest.mark.parametrize("text", ["fg", "soft", "link", *STATES])
    def test_texts_and_shapes(self, theme, ground, text):
        colours = themes()[theme]
        assert contrast(colours[text], colours[ground]) >= 4.5

    def test_notices(self, theme, ground):
        colours = themes()[theme]
        assert contrast(colours["fg"], colours["notice"]) >= 4.5


def test_both_ways_to_the_dark_theme_give_the_same_colours():
    light, dark, system = themes().values()
    assert dark == system
    assert set(light) == set(dark)


def test_every_colour_that_is_used_exists():
    used = set(re.findall(r"var\(--(\w+)\)", CSS)) - {"state"}
    assert used <= set(themes()[":root"])


@pytest.mark.parametrize("path", sorted(UI.rglob("*.*")), ids=lambda path: path.name)
def test_nothing_comes_from_another_host(path):
    if path.suffix in {".html", ".css", ".js", ".svg"}:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace('("http://", "https://", "/")', "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\(", text)


@pytest.mark.parametrize("path", sorted((UI / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_inline_code_and_switch_no_escaping_off(path):
    text = path.read_text()
    assert not re.search(r"\sstyle=|\son[a-z]+=|\|\s*safe|autoescape|<script(?! src)", text)
    assert not re.search(r'(href|src)="/', text)
