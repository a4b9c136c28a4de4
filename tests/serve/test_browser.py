"""The page in a real browser with a camera: ask, explain, teach, accept, go back; an empty console, at any width."""

import os
import re
import shutil

import pytest
from playwright import sync_api as playwright
from playwright.sync_api import expect

from tests.support import served
from tests.support.browsers import BROWSERS, CONTRAST

pytestmark = pytest.mark.slow
WIDTHS = (360, 768, 1440)
LONG = 120_000  # milliseconds


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """What the camera shows: a face that moves a little."""
    return served.video(tmp_path_factory.mktemp("camera") / "camera.y4m", served.portraits(20))


@pytest.fixture(scope="module")
def browser(camera):
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed, so the page is not opened in a browser")
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-video-capture={camera}"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tiny_run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("page") / "run"
    shutil.copytree(tiny_run, workdir)
    with served.Server(workdir) as server:
        yield server


class Opened:
    """The page by a link of its own, what the browser said, and what it asked for."""

    def __init__(self, browser, server, **options):
        self.context = browser.new_context(**options)
        self.view = self.context.new_page()
        self.said, self.asked = [], []
        self.view.on("console", lambda message: self.said.append(f"{message.text} {message.location['url']}"))
        self.view.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.view.on("request", lambda request: self.asked.append(request.url))
        self.view.goto(server.link)
        server.link = server.next_link()
        self.at("#grid .cell").first.wait_for()

    def at(self, selector: str):
        return self.view.locator(selector)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of one face, of no face, and of no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    contents = {f"{i}.jpg": served.encoded(image) for i, image in enumerate(served.portraits(4))}
    contents |= {"none.png": served.encoded(served.portraits(1)[0][:60, :60], "PNG"), "text.jpg": b"no picture"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_predict_explain_teach_accept_and_go_back(browser, server, pictures, tmp_path):
    with Opened(browser, server, viewport={"width": 1440, "height": 900}) as opened:
        view, at = opened.view, opened.at
        at("#files").set_input_files([pictures / "0.jpg", pictures / "1.jpg"])
        expect(at("#said")).to_contain_text("One face: ")
        expect(at("#strip button")).to_have_count(2)
        shares = [float(text.rstrip(" %")) for text in at("#bars .value").all_text_contents()]
        assert shares == sorted(shares, reverse=True)
        at("#more").click()
        expect(at("#bars li")).to_have_count(9)
        assert 95 <= sum(float(text.rstrip(" %")) for text in at("#bars .value").all_text_contents()) <= 105
        # Where it looks, of the likeliest class and of one in the grid; the guided map is warned of.
        at("#show-map").click()
        expect(at("#map")).to_be_visible(timeout=LONG)
        at(".cell[data-class='happily surprised']").click()
        expect(at("#map-caption")).to_contain_text("What speaks for happily surprised", timeout=LONG)
        at("#map-variant").select_option("guided")
        at("#show-map").click()
        expect(at("#map-warning")).to_contain_text("fails the sanity check", timeout=LONG)
        assert at("#map-over").evaluate("(image) => image.complete && image.naturalWidth === 256")
        # The camera: a face at once, then a burst of it.
        at("#camera").click()
        expect(at("#rate")).to_contain_text("frames/s", timeout=LONG)
        at("#burst-count").fill("4")
        at("#burst").click()
        expect(at("#collect-said")).to_contain_text("4 faces collected", timeout=LONG)
        at("#freeze").click()
        # Which of the video's pictures it is, is chance; in one of them a second face is found.
        expect(at("#said")).to_contain_text(re.compile(r"^One face: |^2 faces; face 1: "))
        at("#teach-files").set_input_files([pictures / "2.jpg", pictures / "none.png"])
        expect(at("#collect-said")).to_contain_text("1 face collected. 1 left out: no face is found", timeout=LONG)
        at("#collected button").first.click()
        expect(at("#collected li")).to_have_count(4)
        # A class of the user's own: what it cost, a try, and the decision.
        at("#class-name").fill("smirk")
        at("#start").click()
        expect(at("#result")).to_be_visible(timeout=LONG)
        expect(at("#gained")).to_contain_text("of 4 pictures")
        assert at("#classes tbody tr").count() == 9
        expect(at("#model option:checked")).to_contain_text("+ smirk (not saved)")
        expect(at("#others .cell")).to_contain_text("smirk")
        expect(at("#bars li")).to_have_count(10)
        at("#replayed summary").click()
        expect(at("#exemplars img").first).to_be_visible(timeout=LONG)
        assert (
            len(
                {
                    url
                    for url in opened.asked
                    if not url.startswith(("data:", "blob:", f"http://127.0.0.1:{server.port}/"))
                }
            )
            == 0
        )
        # What is collected meanwhile is for the next class.
        at("#teach-files").set_input_files([pictures / "3.jpg"])
        expect(at("#collect-said")).to_contain_text("1 face collected", timeout=LONG)
        at("#accept").click()
        expect(at("#teach-said")).to_have_text("Accepted and saved.", timeout=LONG)
        expect(at("#result")).to_be_hidden()
        expect(at("#collected li")).to_have_count(1)
        expect(at("#list li[aria-current=true]")).to_be_focused()
        expect(at("#exemplars strong").last).to_have_text("smirk")
        expect(at("#list li[aria-current=true]")).to_contain_text("4 pictures, accepted")
        # Back to the model of before, which does not know the class; what the other one's map shows is not its own.
        at("#show-map").click()
        expect(at("#map")).to_be_visible(timeout=LONG)
        at("#list button").first.click()
        expect(at("#map")).to_be_hidden()
        expect(at("#list li[aria-current=true]")).to_contain_text("kd_psmr, fold 0, order 0")
        expect(at("#list li[aria-current=true]")).to_be_focused()
        expect(at("#models-said")).to_have_text("In use: kd_psmr, fold 0, order 0.")
        expect(at("#others .cell")).to_have_count(0)
        expect(at("#bars li")).to_have_count(9)
        view.reload()
        expect(at("#list li")).to_have_count(2)
        assert opened.said == []


def test_a_second_class_is_discarded_and_what_waits_survives_a_reload(browser, server, pictures):
    with Opened(browser, server) as opened:
        view, at = opened.view, opened.at
        before = at("#list li").count()
        at("#teach-files").set_input_files([pictures / "3.jpg"])
        expect(at("#collect-said")).to_contain_text("1 face collected", timeout=LONG)
        view.reload()
        expect(at("#collected li")).to_have_count(1)
        at("#class-name").fill("happy")
        at("#start").click()
        expect(at("#teach-said")).to_contain_text("class is 'happy', which the model knows")
        at("#class-name").fill("wink")
        at("#start").click()
        expect(at("#result")).to_be_visible(timeout=LONG)
        expect(at("#gained")).to_contain_text("learned from one picture")
        view.reload()
        expect(at("#result")).to_be_visible(timeout=LONG)
        # Nothing else is taught before a decision, and the page says so.
        at("#class-name").fill("nod")
        at("#start").click()
        expect(at("#teach-said")).to_contain_text("wink waits to be accepted; accept or discard it")
        expect(at("#result")).to_be_focused()
        # A second tab sees it, too, and decides; the first one is told, and is as before.
        tab = opened.context.new_page()
        tab.goto(view.url)
        expect(tab.locator("#result")).to_be_visible(timeout=LONG)
        tab.locator("#discard").click()
        expect(tab.locator("#teach-said")).to_have_text("Discarded.")
        expect(tab.locator("#teach-title")).to_be_focused()
        tab.close()
        if at("#result").is_visible():  # it was not looked at meanwhile
            at("#accept").click()
            expect(at("#teach-said")).to_have_text("wink was accepted or discarded in another tab.")
        expect(at("#result")).to_be_hidden()
        expect(at("#list li")).to_have_count(before)
        expect(at("#collected li")).to_have_count(1)
        expect(at("#model option:checked")).to_have_text("kd_psmr, fold 0, order 0")
        # Only what was refused on purpose is in the console.
        assert all("422" in text or "409" in text or "404" in text for text in opened.said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_can_be_read_at_any_width_in_light_and_dark(browser, server, pictures, width, scheme):
    with Opened(browser, server, viewport={"width": width, "height": 900}, color_scheme=scheme) as opened:
        view, at = opened.view, opened.at
        at("#files").set_input_files([pictures / "0.jpg"])
        expect(at("#said")).to_contain_text("One face: ")
        at("#map-variant").select_option("guided")
        at("#show-map").click()
        expect(at("#map-warning")).to_be_visible(timeout=LONG)
        view.evaluate("() => { for (const part of document.querySelectorAll('details')) part.open = true; }")
        assert view.evaluate("() => document.documentElement.scrollWidth") <= width
        contrast = view.evaluate(CONTRAST)
        assert contrast["looked"] > 80
        assert contrast["bad"] == []
        small = view.evaluate(
            "() => [...document.querySelectorAll('button, select, input')].filter((node) => node.checkVisibility())"
            ".map((node) => [node.textContent, node.getBoundingClientRect()])"
            ".filter(([, box]) => Math.min(box.width, box.height) < 24).map(([text]) => text)"
        )
        assert small == []
        assert opened.said == []


def test_who_does_not_see_it_is_told_what_it_is_and_needs_no_mouse(browser, server, pictures):
    with Opened(browser, server) as opened:
        view, at = opened.view, opened.at
        at("#files").set_input_files([pictures / "0.jpg"])
        expect(at("#said")).to_contain_text("One face: ")
        assert view.evaluate("() => document.documentElement.lang") == "en"
        for tag in ("header", "nav", "main", "footer", "h1"):
            assert at(tag).count() == 1
        names = view.evaluate(
            "() => [...document.querySelectorAll('button, select, input:not([hidden])')]"
            ".map((node) => node.getAttribute('aria-label') || node.labels?.[0]?.textContent || node.textContent)"
        )
        assert all(name.strip() for name in names)
        assert at("#view").get_attribute("aria-label").startswith("Picture. One face: ")
        assert at("img:not([alt])").count() == 0
        assert at("th:not([scope])").count() == 0
        assert view.evaluate("() => [...document.querySelectorAll('[role=status]')].length") >= 3
        ids = view.evaluate("() => [...document.querySelectorAll('[id]')].map((node) => node.id)")
        assert len(ids) == len(set(ids))
        # By keyboard alone: past the links to the picture, then a map of a class of the grid.
        view.keyboard.press("Tab")
        assert view.evaluate("() => document.activeElement.className") == "skip"
        view.keyboard.press("Enter")
        view.keyboard.press("Tab")
        assert view.evaluate("() => document.activeElement.id") == "choose"
        reached = []
        while len(reached) < 40 and "cell" not in reached:
            view.keyboard.press("Tab")
            reached.append(view.evaluate("() => document.activeElement.className.split(' ')[0]"))
        assert view.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        name = view.evaluate("() => document.activeElement.dataset.class")
        view.keyboard.press("Enter")
        expect(at("#map-caption")).to_contain_text(f"What speaks for {name}", timeout=LONG)
        assert opened.said == []


CAMERAS = """() => {
  window.streams = [];
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (what) => {
    const stream = await open(what);
    window.streams.push(stream);
    return stream;
  };
}"""
LIVE = "() => window.streams.flatMap((one) => one.getTracks()).filter((one) => one.readyState === 'live').length"


def test_one_camera_is_opened_however_often_it_is_asked_for_and_its_end_is_told(browser, server):
    with Opened(browser, server) as opened:
        view, at = opened.view, opened.at
        view.evaluate(CAMERAS)
        view.evaluate("() => { for (const id of ['camera', 'camera', 'burst']) document.getElementById(id).click(); }")
        expect(at("#rate")).to_contain_text("frames/s", timeout=LONG)
        assert view.evaluate("() => window.streams.length") == 1
        at("#freeze").focus()
        at("#freeze").press("Enter")
        expect(at("#camera")).to_be_focused()
        expect(at("#camera")).to_have_text("Start camera")
        assert view.evaluate(LIVE) == 0
        at("#camera").click()
        expect(at("#rate")).to_contain_text("frames/s", timeout=LONG)
        view.evaluate("() => window.streams[1].getTracks()[0].dispatchEvent(new Event('ended'))")  # as when unplugged
        expect(at("#said")).to_have_text("The camera ended: it was unplugged, or taken from this page.")
        expect(at("#camera")).to_have_text("Start camera")
        assert view.evaluate(LIVE) == 0
        # What a browser refuses is one sentence.
        view.evaluate("() => { navigator.mediaDevices.getUserMedia = async () => { "
                      "throw new DOMException('x', 'NotAllowedError'); }; }")  # fmt: skip
        at("#camera").click()
        expect(at("#said")).to_contain_text("The camera cannot be used: it was not allowed;")
        # As on a page that another host opened without encryption.
        view.evaluate("() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
        at("#burst").click()
        expect(at("#collect-said")).to_contain_text("browsers give it only to pages of this computer itself")
        assert opened.said == []


def test_the_focus_stays_where_lists_change(browser, server, pictures):
    with Opened(browser, server) as opened:
        view, at = opened.view, opened.at
        at("#class-name").fill("smirk")
        at("#start").press("Enter")  # Playwright clicks nothing that is said to be disabled
        expect(at("#teach-said")).to_have_text("Collect a face first.")
        expect(at("#start")).to_be_focused()
        at("#show-map").press("Enter")
        expect(at("#map-said")).to_have_text("Show a picture with a face first.")
        at("#teach-files").set_input_files([pictures / f"{i}.jpg" for i in range(3)])
        expect(at("#collect-said")).to_contain_text("3 faces collected", timeout=LONG)
        for left in (2, 1):
            at("#collected button").first.press("Enter")
            expect(at("#collect-said")).to_have_text(f"1 face removed, {left} left.")
            expect(at("#collected button").first).to_be_focused()
        at("#clear").press("Enter")
        expect(at("#collected li")).to_have_count(0)
        expect(at("#add")).to_be_focused()
        assert view.evaluate("() => document.querySelector('#offline').getAttribute('role')") == "alert"
        for name in ("said", "map-said", "collect-said", "teach-said", "models-said"):
            assert at(f"#{name}").get_attribute("role") == "status"
        assert opened.said == []


def test_a_link_that_was_used_and_a_server_that_ended_are_told(browser, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    with served.Server(tmp_path / "run") as server:
        used = server.link
        with Opened(browser, server) as opened:
            other = browser.new_context().new_page()
            other.goto(used)
            expect(other.locator("p")).to_contain_text("this link was used before")
            other.context.close()
            server.process.terminate()
            server.process.wait(30)
            opened.at("#list li").first.wait_for()
            opened.view.evaluate("() => document.querySelector('#model').dispatchEvent(new Event('change'))")
            expect(opened.at("#offline")).to_contain_text("The server does not answer")
