"""How quickly does the page of `fer-jax serve` answer: pictures, the camera, a map, and a class of five pictures?

Command: python -m studies.serve --out docs/results/serve.json     (make serve-bench)
Result:  docs/results/serve.json
Time:    two minutes on two cores

On a copy of the quickstart's workdir, which `make results` leaves. The server is a process of its own; a request is
timed from its first byte to the answer's last, face finding included, and the median counts. The camera is Chromium's,
fed with a moving portrait; its rate is that of the answers which the page shows in ten seconds, browser and server on
the same cores. The clock suffers from whatever else the machine does, which `load_before` tells.
"""

import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable

import skimage.data
from playwright import sync_api as playwright
from playwright.sync_api import expect

from studies import record
from tests.support import served
from tests.support.browsers import BROWSERS

WARM, TAUGHT, CAMERA_SECONDS = 30, 5, 10.0


def timed(ask: Callable[[], served.Told], times: int = WARM) -> dict:
    """Seconds of one request: the first, then the median, the slowest and all of the others."""
    seconds = []
    for _ in range(1 + times):
        began = time.perf_counter()
        told = ask()
        seconds.append(time.perf_counter() - began)
        assert told.status in (200, 201), told
    first, *rest = seconds
    return {"first": first, "median": statistics.median(rest), "slowest": max(rest), "runs": rest}


def requests(client: served.Client) -> dict[str, dict]:
    """Seconds of each kind of question."""
    portrait, frame = served.encoded(skimage.data.astronaut()), served.encoded(served.portraits(1)[0])
    large = served.encoded(skimage.data.astronaut().repeat(4, 0).repeat(4, 1))  # its decoding takes longest
    return {
        "predict, 512 × 512": timed(lambda: client.picture("/predict", portrait)),
        "predict, a camera's 480 × 480": timed(lambda: client.picture("/predict", frame)),
        "photograph, 2048 × 2048": timed(lambda: client.picture("/predict", large)),
        "explain": timed(lambda: client.picture("/explain", portrait), 10),
    }


def teach(client: served.Client, name: str) -> float:
    """Seconds from the first of five pictures to the result."""
    began = time.perf_counter()
    keys = [client.picture("/teach/pictures", served.encoded(image)).json["key"] for image in served.portraits(TAUGHT)]
    told = client.teach(name, keys)
    assert told.status == 202, told
    assert client.taught()["state"] == "done"
    seconds = time.perf_counter() - began
    assert client.decide("discard").status == 200
    for key in keys:
        client.ask("DELETE", f"/teach/pictures/{key}")
    return seconds


def camera(server: served.Server, folder: pathlib.Path) -> dict:
    """Answers a second that the page shows of a camera's pictures."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    film = served.video(folder / "camera.y4m", served.portraits(40))
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-video-capture={film}"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(server.link)
        server.link = server.next_link()
        answered: list[float] = []
        page.on("requestfinished", lambda one: answered.append(time.perf_counter()) if "/predict" in one.url else None)
        page.locator("#camera").click()
        expect(page.locator("#rate")).to_contain_text("frames/s", timeout=60_000)
        page.wait_for_timeout(2000)
        answered.clear()
        page.wait_for_timeout(1000 * CAMERA_SECONDS)
        rate = (len(answered) - 1) / (answered[-1] - answered[0])
        browser.close()
    return {"answers_per_second": rate, "answers": len(answered)}


def measure(workdir: pathlib.Path) -> dict:
    """Returns all of it."""
    load = record.load()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copytree(workdir, folder / "run")
        began = time.perf_counter()
        with served.Server(folder / "run") as server:
            found = {"load_before": load, "start_seconds": time.perf_counter() - began}
            client = server.client()
            found["request_seconds"] = requests(client)
            found["teach_seconds"] = {"first": teach(client, "first"), "second": teach(client, "second")}
            found["camera"] = camera(server, folder)
            found["megabytes"] = server.megabytes()
    return {**found, "settings": {"pictures": TAUGHT}, "environment": record.environment("auto", load)}


def main() -> None:
    """Measures, writes JSON to `--out`, and prints it."""
    parser = record.command(__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/results"), metavar="DIR")
    a = parser.parse_args()
    found = measure(a.workdir)
    record.write(a.out, found)
    print(json.dumps({name: value for name, value in found.items() if name != "environment"}, indent=1))


if __name__ == "__main__":
    main()
