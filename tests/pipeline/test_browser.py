"""What a person sees of a report, in Debian's Chromium."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests import cli
from tests.pipeline.conftest import Finished

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PHONE, DESK = (390, 844), (1280, 900)
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
# Of each drawing, the size on the screen and the size of what is drawn in it.
DRAWN = """return [...document.querySelectorAll('svg.chart')].map(chart => {
  const box = chart.getBoundingClientRect()
  const marks = [...chart.querySelectorAll('path.line, circle.dot')].map(mark => mark.getBBox())
  return [box.width, box.height, Math.max(0, ...marks.map(mark => mark.width + mark.height)), marks.length]
})"""
WIDER = """const wide = document.documentElement.clientWidth + 1
return [...document.body.querySelectorAll('*')].filter(one =>
  one.getBoundingClientRect().right > wide && !one.closest('.scroll, pre, svg, iframe')).map(one => one.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    if not (CHROMIUM and DRIVER):
        assert not os.environ.get("CI"), "CI needs the packages chromium and chromium-driver"
        pytest.skip("needs chromium and chromedriver")
    options = Options()
    options.binary_location = CHROMIUM
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *QUIET):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, Service(DRIVER)) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(language_run: Finished, table_run: Finished, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A language model's report, that of a table's challenger, and both of the table's runs beside each other."""
    folder = tmp_path_factory.mktemp("pages")
    changes = ("--set", "fine_tuning.learning_rate=0.5", "--set", "evaluation.comparison.minimum=20")
    challenger = cli.run_json(table_run.recipe, table_run.copy(folder), *changes)
    runs = [table_run.summary["run_id"], challenger["run_id"]]
    store = ["--store", f"file://{folder / 'store'}"]
    made = {name: folder / f"{name}.html" for name in ("language", "table", "compared")}
    asked = {
        "language": ["--store", f"file://{language_run.store}"],
        "table": [runs[1], *store],
        "compared": ["--compare", *runs, *store],
    }
    for name, words in asked.items():
        done = cli.modelmill("report", *words, "--output", made[name])
        assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize(("page", "charts"), [("language", 4), ("table", 3), ("compared", 2)])
def test_a_page_is_drawn_and_nothing_sticks_out(
    browser: webdriver.Chrome, pages: dict[str, Path], page: str, charts: int, size: tuple[int, int]
) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(pages[page].as_uri())
    drawn = browser.execute_script(DRAWN)
    assert len(drawn) >= charts
    for width, height, extent, marks in drawn:
        assert 0 < width <= size[0] and height > 50 and extent > 10 and marks > 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.execute_script(WIDER) == []
    assert browser.get_log("browser") == []


def test_a_report_needs_no_script_and_no_network_in_a_sandboxed_frame(
    browser: webdriver.Chrome, pages: dict[str, Path], tmp_path: Path
) -> None:
    """As the page of Kubeflow Pipelines shows it."""
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe sandbox src="{pages["table"].as_uri()}" width="900" height="900"></iframe>')
    browser.get(frame.as_uri())
    assert browser.get_log("browser") == []
    browser.switch_to.frame(0)
    assert "Against the champion" in browser.find_element("tag name", "body").text
