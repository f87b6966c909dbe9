"""The picture of a report that README and the site show, made of the demo's.

    make demo && python -m scripts.docs.report_picture runs/digits/attributions.html scripts/results/report.png

Needs a Chromium (apt-get install chromium).
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1300, "height": 1080}
SCALE = 1.25
COLOURS = 64


def main() -> None:
    page, picture = Path(sys.argv[1]), Path(sys.argv[2])
    taken(page).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def taken(page: Path) -> Image.Image:
    """The table of a report's first rows, and their maps, in few colours."""
    installed = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        opened = browser.new_page(viewport=SIZE, device_scale_factor=SCALE)
        opened.goto(page.absolute().as_uri())
        opened.get_by_label("Rows a page").select_option("5")
        opened.get_by_role("heading", name="Rows", exact=True).evaluate("each => each.scrollIntoView()")
        shot = opened.screenshot()
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS)


if __name__ == "__main__":
    main()
