"""The pictures of a profile's page in ``docs/``: ``python bench/screenshots.py REPORT.json ...`` with what ``mmedge profile --json`` wrote.

Headless Chromium shows the page as a desk and a telephone would, light and dark; the beginning of each is kept, in few enough colours to be small.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from mmedge.profile.page import write_page
from mmedge.profile.reading import read_report

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser import MISSING, Browser, found  # noqa: E402

HEIGHTS = {1280: 2600, 390: 2600}
"""Width -> how much of the page is shown, pixels."""
COLOURS = 128


def main(paths: list[str]) -> int:
    if not paths or not found():
        print(MISSING if paths else __doc__, file=sys.stderr)
        return 2
    reports = [report for path in paths for report in read_report(Path(path))]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "profile.html"
        write_page(reports, page)
        browser = Browser()
        for width, height in HEIGHTS.items():
            for scheme in ("light", "dark"):
                browser.open(page, width=width, scheme=scheme)
                picture = Image.open(io.BytesIO(browser.screenshot(height))).convert("RGB")
                path = ROOT / "docs" / f"profile-{scheme}-{width}.png"
                picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
                print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
