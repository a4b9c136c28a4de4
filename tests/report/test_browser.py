"""The page in a real browser: an empty console, nothing fetched, no scrolling sideways, and usable by keyboard."""

import itertools
import json
import os
import shutil

import pytest
from playwright import sync_api as playwright

from fer_jax.report import against, page
from tests.support.browsers import BROWSERS, CONTRAST

WIDTHS = (360, 768, 1440)
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed, so the report is not opened in a browser")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class Opened:
    """A page in the browser, what it said, and what it asked for."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(**options)
        self.view = self.context.new_page()
        self.said, self.asked = [], []
        self.view.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.view.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.view.on("request", lambda request: self.asked.append(request.url))
        self.view.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()

    def count(self, selector: str) -> int:
        return self.view.locator(selector).count()


@pytest.fixture(scope="module")
def report(tiny_run):
    return (tiny_run / "report" / "index.html").resolve()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_cleanly_at_any_width_in_light_and_dark(browser, report, width, scheme):
    with Opened(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme) as opened:
        view = opened.view
        view.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        contrast = view.evaluate(CONTRAST)
        assert contrast["looked"] > 300
        assert contrast["bad"] == []
        ground = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
        assert opened.said == []
        assert [url for url in opened.asked if not url.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_screen_says_how_good_it_is(browser, report, width):
    with Opened(browser, report, viewport={"width": width, "height": 740}) as opened:
        view = opened.view
        number = view.locator(".cards .value").first
        assert number.bounding_box()["y"] < 740
        questions = view.locator(".cards h2").all_text_contents()
        assert questions == ["How good is it?", "What did it forget?", "What does it confuse?", "What next?"]
        # The bars have the lengths of their numbers.
        bars = view.evaluate("""[...document.querySelectorAll(".scale td span")].map((span) =>
          [Number(span.textContent), parseFloat(getComputedStyle(span, "::before").width)])""")
        longest = max(bars, key=lambda bar: bar[0])
        assert len(bars) >= 3
        assert all(wide == pytest.approx(longest[1] * n / longest[0], abs=2.5) for n, wide in bars)


@pytest.mark.parametrize("width", [360, 1440])
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(browser, report, width):
    with Opened(browser, report, viewport={"width": width, "height": 900}) as opened:
        view = opened.view
        controls = view.evaluate("""() => {
          const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
          window.controls = [...all].filter((one) => one.checkVisibility() && !one.disabled);
          return window.controls.length;
        }""")
        assert controls > 20
        for number in range(controls):
            view.keyboard.press("Tab")
            at, outline = view.evaluate("""() => [window.controls.indexOf(document.activeElement),
              getComputedStyle(document.activeElement).outlineStyle]""")
            assert (at, outline) == (number, "solid")
        # A folded part opens by keyboard.
        folded = view.locator("details:not([open]) > summary").first.element_handle()
        folded.focus()
        view.keyboard.press("Enter")
        assert folded.evaluate("(summary) => summary.parentElement.open")
        assert opened.said == []


@pytest.fixture(scope="module")
def compared(tiny_run, tmp_path_factory):
    """The page that compares the run with one of another memory, in which two classes changed places at the end."""
    other = tmp_path_factory.mktemp("other")
    results = json.loads((tiny_run / "results.json").read_text())
    results["config"]["memory.share"] = 0.25
    for entry in results["continual"].values():
        for run in entry["runs"]:
            for row in (run["final_confusion"], run["accuracy_matrix"][-1]):
                row[0], row[1] = row[1], row[0]
    (other / "results.json").write_text(json.dumps(results))
    return against.write(tiny_run, other, other / "page").resolve()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (768, "light"), (1440, "dark")])
def test_the_comparison_opens_cleanly_too(browser, compared, width, scheme):
    with Opened(browser, compared, viewport={"width": width, "height": 900}, color_scheme=scheme) as opened:
        view = opened.view
        view.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(CONTRAST)["bad"] == []
        assert opened.said == []
        assert opened.asked == [compared.as_uri()]
        assert [opened.count(tag) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
        view.keyboard.press("Tab")
        assert view.evaluate("document.activeElement.className") == "skip"
        targets = view.evaluate("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href').slice(1))")
        assert all(view.evaluate("(id) => document.getElementById(id) !== null", target) for target in targets)


def test_what_is_wider_than_the_page_scrolls_in_a_box_of_its_own_by_keyboard(browser, report):
    with Opened(browser, report, viewport={"width": 360, "height": 900}) as opened:
        boxes = opened.view.locator(".scroll")
        wide = [i for i in range(boxes.count()) if boxes.nth(i).evaluate("(b) => b.scrollWidth > b.clientWidth + 20")]
        assert wide
        box = boxes.nth(wide[0])
        box.focus()
        opened.view.keyboard.press("ArrowRight")
        opened.view.wait_for_function("(b) => b.scrollLeft > 0", arg=box.element_handle())
        unnamed = opened.count(".scroll:not([tabindex='0'][role=region][aria-label])")
        assert unnamed == 0


def test_the_slider_steps_through_confusion_by_keyboard(browser, report):
    with Opened(browser, report, viewport={"width": 768, "height": 900}) as opened:
        part = opened.view.locator("[data-confusion]").first
        found = json.loads(part.locator("script").text_content())
        slider, said = part.locator("input[type=range]"), part.locator("output")

        def shown() -> list[list[int]]:
            rows = part.locator("tbody tr")
            cells = [rows.nth(i).locator("td").all_text_contents() for i in range(rows.count())]
            return [[r, c, int(text)] for r, row in enumerate(cells) for c, text in enumerate(row) if text]

        last = len(found["steps"]) - 1
        assert slider.is_visible()
        assert shown() == found["steps"][last]["cells"]
        slider.focus()
        opened.view.keyboard.press("ArrowLeft")
        assert shown() == found["steps"][last - 1]["cells"]
        assert said.text_content() == found["steps"][last - 1]["label"]
        assert slider.get_attribute("aria-valuetext") == found["steps"][last - 1]["label"]
        opened.view.keyboard.press("Home")
        assert shown() == found["steps"][0]["cells"]
        opened.view.keyboard.press("End")
        assert shown() == found["steps"][last]["cells"]
        assert opened.said == []


def test_without_a_script_the_last_step_stands_there(browser, report):
    with Opened(browser, report, java_script_enabled=False) as opened:
        part = opened.view.locator("[data-confusion]").first
        assert not part.locator("input").is_visible()
        found = json.loads(part.locator("script").text_content())
        numbers = [int(text) for text in part.locator("td").all_text_contents() if text]
        assert sum(numbers) == sum(count for _, _, count in found["steps"][-1]["cells"])
        assert found["steps"][-1]["label"] in part.locator("noscript").inner_text()


def test_who_does_not_see_it_is_told_what_it_is(browser, report):
    with Opened(browser, report) as opened:
        view = opened.view
        assert view.evaluate("document.documentElement.lang") == "en"
        assert [opened.count(tag) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
        levels = view.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert opened.count("img") > 0
        assert opened.count("img:not([alt]), img[alt='']") == 0
        assert opened.count("svg[role=img]:not([aria-label])") == 0
        assert opened.count("th:not([scope])") == 0
        assert opened.count("table:not(:has(> caption))") == 0
        labels = view.evaluate("[...document.querySelectorAll('input')].map((i) => i.labels.length)")
        assert labels
        assert min(labels) == 1
        ids = view.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        targets = view.evaluate("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
        assert all(target.removeprefix("#") in ids for target in targets)
        # The first thing that Tab reaches leads past the list of sections, and shows where it is.
        view.keyboard.press("Tab")
        assert view.evaluate("document.activeElement.className") == "skip"
        assert view.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        view.keyboard.press("Enter")
        assert view.evaluate("document.activeElement.id") == "main"


def test_on_paper_all_parts_are_open_and_light(browser, report):
    with Opened(browser, report, color_scheme="dark") as opened:
        view = opened.view
        view.emulate_media(media="print", color_scheme="dark")
        view.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert view.evaluate("[...document.querySelectorAll('details')].every((part) => part.open)")
        assert view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not view.locator("nav").is_visible()
        assert view.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.slow
def test_results_alone_and_long_names_fit_a_phone(browser, tiny_run, tmp_path):
    results = json.loads((tiny_run / "results.json").read_text())
    results["data"]["name"] = "a_name_without_a_place_to_break_it_" * 3
    results["data"]["classes"][0] = "another_name_of_a_class_without_any_space_in_it"
    (tmp_path / "results.json").write_text(json.dumps(results))
    path = page.write(tmp_path).resolve()
    with Opened(browser, path, viewport={"width": 360, "height": 900}) as opened:
        assert opened.view.evaluate("document.documentElement.scrollWidth") <= 360
        assert opened.said == []
