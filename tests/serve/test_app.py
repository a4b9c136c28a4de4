"""Every address of the server by every answer that openapi.json documents, and what a request must show first."""

import asyncio
import dataclasses
import errno
import io
import itertools
import json
import pathlib
import shutil
import struct
import tempfile
import zlib

import jsonschema
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import fer_jax.serve
from fer_jax.inference import calibration, trained
from fer_jax.inference import predict as predicting
from fer_jax.inference import taught as taught_models
from fer_jax.serve import app as serving
from fer_jax.serve import pictures as reading
from fer_jax.serve import shelf as shelves
from fer_jax.serve.jobs import Teaching
from fer_jax.serve.limits import Limits
from fer_jax.serve.service import Service
from fer_jax.serve.visitors import Picture, Visitors

PORT = 8000
HERE = f"http://127.0.0.1:{PORT}"
DESCRIPTION = json.loads((pathlib.Path(fer_jax.serve.__file__).parent / "openapi.json").read_text())
DOCUMENTED = DESCRIPTION["paths"]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def bomb(side: int = 30_000) -> bytes:
    """A PNG of a kilobyte that says it has 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


class World:
    """A server in this process, a browser that came by its link, and pictures."""

    def __init__(self, first, faces, limits=None):
        self.first, self.faces = first, faces
        self.limits = limits or Limits()
        self.links: list[str] = []
        self.visitors = Visitors(self.limits, self.links.append)
        self.shelf = shelves.Shelf(first)
        self.service = Service(self.shelf, self.limits)
        self.app = serving.build(self.service, self.visitors, "127.0.0.1", PORT)
        self.client = TestClient(self.app, base_url=HERE, raise_server_exceptions=False)
        self.visitors.invite()
        assert self.client.get("/", params={"token": self.links[0]}).status_code == 200
        [self.cookie] = self.client.cookies.values()

    @property
    def visitor(self):
        return next(iter(self.visitors._by_digest.values()))

    def picture(self, path, body=None, kind="image/png", **more):
        body = png(self.faces[0]) if body is None else body
        return self.client.post(path, content=body, headers={"content-type": kind, **more})

    def collect(self, n: int) -> list[str]:
        told = [self.picture("/teach/pictures", png(face)) for face in self.faces[:n]]
        assert [one.status_code for one in told] == [201] * n
        return [one.json()["key"] for one in told]

    def teach(self, name="smirk", keys=(), path="/teach"):
        return self.client.post(path, json={"class": name, "pictures": list(keys)})

    def decide(self, how):
        return self.client.post(f"/teach/{how}", params={"model": self.visitor.teaching.key})

    def raw(self, path, kind, *messages):
        """The status of a request whose body comes as these messages, one after the other, and then no more."""
        sent, left = [], list(messages)

        async def receive():
            await asyncio.sleep(0 if left else 60)
            return left.pop(0)

        async def send(message):
            sent.append(message)

        name = next(iter(self.client.cookies))
        headers = {"host": f"127.0.0.1:{PORT}", "cookie": f"{name}={self.cookie}", "content-type": kind}
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
                 "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", PORT), "client": None,
                 "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}  # fmt: skip
        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"]


@pytest.fixture(scope="module")
def first(tiny_run, tmp_path_factory):
    """The model of a copy of the finished run; pictures are faces already."""
    workdir = tmp_path_factory.mktemp("serve") / "run"
    shutil.copytree(tiny_run, workdir)
    return predicting.build(trained.restore(workdir), cropped=True)


@pytest.fixture(scope="module")
def faces(tiny_data):
    return tiny_data.image[np.flatnonzero(tiny_data.label == 0)[:8]]


@pytest.fixture
def world(first, faces):
    return World(first, faces)


@pytest.fixture(scope="module")
def draft(first, faces):
    """The model that a browser taught, and what it was told of it."""
    world = World(first, faces)
    told = world.teach(keys=world.collect(3))
    assert told.status_code == 202
    world.service._teacher.close()
    told = world.client.get("/teach").json()
    assert told["state"] == "done", told
    return world.visitor.teaching.draft, told


def limited(**limits):
    """Of a server with other limits the answer to what `ask` does."""
    return lambda world, ask: ask(World(world.first, world.faces, Limits(**limits)))


def nobody(method, path):
    return lambda world: TestClient(world.app, base_url=HERE).request(method, path)


BUSY = limited(waiting=-1)
OFTEN = limited(burst=0)
SLOW = limited(upload_seconds=0.05)
PICTURES = {"/predict": {}, "/explain": {}, "/teach/pictures": {}}

# (method, path, status): what a browser does to be answered so.
CASES = {
    ("GET", "/", 200): lambda w: w.client.get("/"),
    ("GET", "/", 401): nobody("GET", "/"),
    ("GET", "/", 403): lambda w: w.client.get("/?token=none"),
    ("GET", "/app.css", 200): lambda w: w.client.get("/app.css"),
    ("GET", "/app.js", 200): lambda w: w.client.get("/app.js"),
    ("GET", "/openapi.json", 200): lambda w: w.client.get("/openapi.json"),
    ("GET", "/models", 200): lambda w: w.client.get("/models"),
    ("GET", "/model", 200): lambda w: w.client.get("/model"),
    ("GET", "/model", 404): lambda w: w.client.get("/model?model=../../etc/passwd"),
    ("GET", "/exemplars", 404): lambda w: w.client.get("/exemplars?model=none"),
    ("GET", "/exemplars", 422): lambda w: _changed(w),
    ("GET", "/teach", 200): lambda w: w.client.get("/teach"),
    ("GET", "/teach/pictures", 200): lambda w: w.client.get("/teach/pictures"),
    ("POST", "/teach/pictures", 201): lambda w: w.picture("/teach/pictures"),
    ("POST", "/teach/pictures", 200): lambda w: [w.picture("/teach/pictures") for _ in range(2)][1],
    ("POST", "/teach/pictures", 409): lambda w: _collected_too_many(w),
    ("DELETE", "/teach/pictures/{key}", 200): lambda w: w.client.delete(f"/teach/pictures/{w.collect(1)[0]}"),
    ("DELETE", "/teach/pictures/{key}", 404): lambda w: w.client.delete("/teach/pictures/..%2f..%2fetc"),
    ("POST", "/predict", 200): lambda w: w.picture("/predict"),
    ("POST", "/teach", 400): lambda w: w.client.post("/teach", content=b"[" * 9000,
                                                     headers={"content-type": "application/json"}),
    ("POST", "/teach", 404): lambda w: w.teach(keys=["none"]),
    ("POST", "/teach", 408): lambda w: SLOW(w, lambda s: s.raw("/teach", "application/json")),
    ("POST", "/teach", 409): lambda w: _with(w, object()).teach(keys=w.collect(1)),
    ("POST", "/teach", 413): lambda w: w.teach("x" * 20_000),
    ("POST", "/teach", 415): lambda w: w.client.post("/teach", content=b"{}", headers={"content-type": "text/plain"}),
    ("POST", "/teach", 422): lambda w: w.teach("../../x", w.collect(1)),
    ("POST", "/teach", 503): lambda w: _taught_meanwhile(w),
    ("POST", "/teach/accept", 409): lambda w: w.client.post("/teach/accept?model=none"),
    ("POST", "/teach/discard", 409): lambda w: w.client.post("/teach/discard?model=none"),
}  # fmt: skip
for path in PICTURES:
    CASES |= {
        ("POST", path, 400): lambda w, path=path: w.raw(path, "image/png", {"type": "http.disconnect"}),
        ("POST", path, 404): lambda w, path=path: w.picture(f"{path}?model=none"),
        ("POST", path, 408): lambda w, path=path: SLOW(w, lambda s: s.raw(path, "image/png")),
        ("POST", path, 413): lambda w, path=path: w.picture(path, bytes(10_000_001)),
        ("POST", path, 415): lambda w, path=path: w.picture(path, kind="text/html"),
        ("POST", path, 422): lambda w, path=path: w.picture(path, b"no picture"),
        ("POST", path, 503): lambda w, path=path: BUSY(w, lambda s: s.picture(path)),
    }
for path in ("/models", "/model", "/exemplars", "/teach/pictures"):
    CASES[("GET", path, 503)] = lambda w, path=path: BUSY(w, lambda s: s.client.get(path))
for path in ("/teach/accept", "/teach/discard"):
    CASES[("POST", path, 503)] = lambda w, path=path: BUSY(w, lambda s: s.client.post(f"{path}?model=none"))
for path, operations in DOCUMENTED.items():
    for method in map(str.upper, operations):
        CASES[(method, path, 429)] = lambda w, m=method, p=path: OFTEN(w, lambda s: s.client.request(m, p))
        if path != "/":
            CASES[(method, path, 401)] = nobody(method, path)
# Those that teach, or compile maps.
LONG = {
    ("POST", "/explain", 200): lambda w, d: w.picture("/explain?class=sad&variant=guided&face=0"),
    ("GET", "/exemplars", 200): lambda w, d: w.client.get("/exemplars"),
    ("POST", "/teach", 202): lambda w, d: w.teach(keys=w.collect(2)),
    ("POST", "/teach/accept", 201): lambda w, d: _with(w, d[0]).decide("accept"),
    ("POST", "/teach/accept", 507): lambda w, d: _on_a_full_disk(_with(w, d[0])),
    ("POST", "/teach/discard", 200): lambda w, d: _with(w, d[0]).decide("discard"),
}


def _with(world, draft):
    """A server whose browser has a model that waits to be accepted."""
    world.visitor.teaching = Teaching("smirk", "first", draft=draft, state="done")
    return world


def _changed(world):
    """A server whose run began with other data."""
    first = world.first
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "origin.json").write_text('{"data_sha256": "another"}')
        moved = dataclasses.replace(first.trained, workdir=pathlib.Path(folder))
        return World(dataclasses.replace(first, trained=moved), world.faces).client.get("/exemplars")


def _collected_too_many(world):
    for i in range(50):
        world.visitor.collect(Picture(str(i), np.full((1, 1, 3), i, np.uint8)))
    return world.picture("/teach/pictures")


def _taught_meanwhile(world):
    world.service._teacher._turn.acquire()
    return world.teach(keys=world.collect(1))


def _on_a_full_disk(world):
    with pytest.MonkeyPatch.context() as patch:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(taught_models, "write", full)
        answer = world.decide("accept")
    assert world.client.get("/teach").json()["state"] == "done"  # it waits on
    return answer


def status(answer) -> int:
    return answer if isinstance(answer, int) else answer.status_code


def named(case) -> str:
    return " ".join(map(str, case))


def check_schema(case, answer) -> None:
    """Checks an answer's JSON by what the description says of it."""
    method, path, code = case
    told = DOCUMENTED[path][method.lower()]["responses"][str(code)]
    told = DESCRIPTION["components"]["responses"][told["$ref"].rpartition("/")[2]] if "$ref" in told else told
    if "content" in told:
        schema = told["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": DESCRIPTION["components"]})


@pytest.mark.parametrize("case", CASES, ids=named)
def test_an_answer_has_its_status(world, case):
    answer = CASES[case](world)
    assert status(answer) == case[2]
    if isinstance(answer, int):
        return
    check_schema(case, answer)
    for name, value in serving.HEADERS.items():
        assert answer.headers[name] == value
    if case[2] >= 400 and case[1] != "/":
        [text] = answer.json().values()
        assert text
        assert "\n" not in text
        assert ("retry-after" in answer.headers) == (case[2] in (429, 503))


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG, ids=named)
def test_an_answer_that_takes_long_has_its_status(world, draft, case):
    answer = LONG[case](world, draft)
    assert status(answer) == case[2]
    check_schema(case, answer)


def test_the_description_has_every_address_and_every_answer():
    addresses = {(one.method, one.path) for one in serving.ADDRESSES} | {("GET", path) for path in serving.FILES}
    documented = {
        (method.upper(), path, int(code))
        for path, operations in DOCUMENTED.items()
        for method, operation in operations.items()
        for code in operation["responses"]
    }
    assert {case[:2] for case in documented} == addresses
    assert documented == CASES.keys() | LONG.keys()


def test_the_description_has_what_each_address_takes():
    for one in serving.ADDRESSES:
        told = DOCUMENTED[one.path][one.method.lower()]
        given = [(q["name"], q["in"], q.get("required", False)) for q in told.get("parameters", [])]
        in_path = [("key", "path", True)] if "{key}" in one.path else []
        assert given == [*((name, "query", name in one.must) for name in one.query), *in_path]
        kinds = list(told["requestBody"]["content"]) if "requestBody" in told else []
        assert kinds == {serving.PICTURE: ["image/*"], serving.JSON: [serving.JSON], None: []}[one.body]
    limits = Limits()
    text = json.dumps(DESCRIPTION, ensure_ascii=False)
    for limit in (limits.picture_bytes, limits.json_bytes, limits.picture_pixels, serving.HEAD_BYTES):
        assert f"{limit:,}" in text
    assert f"longer than {limits.upload_seconds:g} s" in text
    assert f"more than {limits.scans} scans" in text
    assert f"more than {limits.connections} connections" in text
    assert f"ended after {limits.head_seconds:g} s" in text


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/models?modle=first", "the query has 'modle', which /models does not have; it has none"),
        ("GET", "/model?modle=first", "the query has 'modle', which /model does not have; it may have model"),
        ("POST", "/explain?faces=1", "the query has 'faces', which /explain does not have; it may have model, class"),
        ("POST", "/teach/accept", "the query has no model, which /teach/accept needs; model may be the key of GET /t"),
        ("POST", "/teach/discard", "the query has no model, which /teach/discard needs; model may be the key of GET "),
    ],
)
def test_a_query_that_an_address_does_not_have_is_told(world, method, path, said):
    answer = world.client.request(method, path)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (400, said)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1.evil.example"}, 400),
        ({"host": "evil.example@127.0.0.1"}, 400),
        ({"host": "127.0.0.1:8000/../"}, 400),
        ({"host": ""}, 400),
        ({"host": "localhost:1234"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"origin": HERE}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8001"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),  # another port of this machine
    ],
)
def test_only_its_own_name_and_its_own_pages_are_answered(world, headers, expected):
    answers = [world.client.get("/models", headers=headers), world.picture("/predict", **headers)]
    assert [answer.status_code for answer in answers] == [expected] * 2
    assert all(answer.headers["content-security-policy"] for answer in answers)


def test_a_link_lets_one_browser_in_and_the_cookie_is_no_scripts(world):
    [used, _] = world.links
    stranger = TestClient(world.app, base_url=HERE)
    assert stranger.get("/", params={"token": used}).status_code == 403
    assert stranger.get("/models").status_code == 401
    answer = stranger.get("/", params={"token": world.links[-1]})
    [cookie] = [value for name, value in answer.headers.multi_items() if name == "set-cookie"]
    assert cookie.startswith(f"fer_jax_{PORT}=")
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert world.links[-2] not in answer.text
    assert stranger.get("/models").status_code == 200
    assert len(world.links) == 3


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("HEAD", {}, 200),
        ("GET", {"sec-purpose": "prefetch;prerender"}, 403),
        ("GET", {"purpose": "prefetch"}, 403),
        ("GET", {"x-moz": "prefetch"}, 403),
    ],
)
def test_who_looks_at_a_link_does_not_use_it_up(world, method, headers, expected):
    stranger = TestClient(world.app, base_url=HERE)
    for _ in range(2):
        answer = stranger.request(method, "/", params={"token": world.links[-1]}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (expected, False)
    assert stranger.head("/", params={"token": "none"}).status_code == 403
    assert stranger.get("/", params={"token": world.links[-1]}).status_code == 200
    assert len(world.links) == 3


def test_a_browser_that_opens_the_next_link_keeps_its_pictures(world):
    keys = world.collect(2)
    assert world.client.get("/", params={"token": world.links[-1]}).status_code == 200
    assert [one["key"] for one in world.client.get("/teach/pictures").json()["pictures"]] == keys
    assert len(world.links) == 3


def test_pictures_that_come_while_others_are_listed_are_no_error(world, monkeypatch):
    world.collect(2)
    face, drawn = Picture("x", np.zeros((8, 8, 3), np.uint8)), reading.as_url

    def meanwhile(*given):
        world.visitor.collect(face)
        return drawn(*given)

    monkeypatch.setattr(reading, "as_url", meanwhile)
    assert len(world.client.get("/teach/pictures").json()["pictures"]) == 2


def test_browsers_do_not_see_each_others_pictures(world):
    [key] = world.collect(1)
    other = TestClient(world.app, base_url=HERE)
    other.get("/", params={"token": world.links[-1]})
    assert other.get("/teach/pictures").json() == {"pictures": []}
    assert other.delete(f"/teach/pictures/{key}").status_code == 404
    assert [one["key"] for one in world.client.get("/teach/pictures").json()["pictures"]] == [key]


def test_a_path_or_method_that_is_not_there_is_told_as_json(world):
    for path in ("/none", "/app.js/", "/static/index.html", "/..%2f..%2fetc%2fpasswd", "/openapi.json/../app.py"):
        answer = world.client.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert answer.json()["error"].endswith("it may be one of /openapi.json")
    answer = world.client.put("/teach")
    assert (answer.status_code, answer.json()) == (405, {"error": "method is PUT; it may be GET, HEAD, POST"})
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_answers_are_those_of_predict(world):
    for face in world.faces[:2]:
        told = world.picture("/predict", png(face)).json()
        [row] = told["faces"]
        p = world.first.probabilities(face[None])[0]
        known = world.first.trained.known_names
        assert told["size"] == [face.shape[1], face.shape[0]]
        assert row["classes"] == predicting.ranked(world.first.trained, p, len(known))
        assert {one["class"] for one in row["classes"]} == set(known)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "it is not a picture"),
        (bomb(), "more than 20,000,000 pixels; make it smaller"),
        (b"\xff\xd8" + 33 * reading.SCAN, "it is a JPEG of 33 scans; it may have 32"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not a picture"),
        (None, "it cannot be decoded"),
    ],
)
def test_a_picture_that_cannot_be_used_says_why(world, body, said):
    body = png(world.faces[0])[:200] if body is None else body
    for path in PICTURES:
        answer = world.picture(path, body)
        assert answer.status_code == 422
        assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "expected", "said"),
    [
        (b"", 400, "the body is no JSON; it may be {"),
        (b"{", 400, "the body is no JSON; it may be {"),
        (b"\xff\xfe", 400, "the body is no JSON; it may be {"),
        (b"[]", 400, "the body is no JSON object; it may be {"),
        (b'{"class": "smirk"}', 400, "the body has the keys 'class'; it may be {"),
        (
            b'{"class": "a", "pictures": ["b"], "modle": 1}',
            400,
            "the body has the keys 'class', 'pictures', 'modle'; it ",
        ),
        (b'{"class": 1, "pictures": []}', 400, "class is 1; it may be a text"),
        (b'{"class": null, "pictures": []}', 400, "class is null; it may be a text"),
        (b'{"class": "smirk", "pictures": [1]}', 400, "pictures is [1]; it may be a list of keys"),
        (b'{"class": "smirk", "pictures": {"a": 1}}', 400, 'pictures is {"a": 1}; it may be a list of keys'),
        (b'{"class": "smirk", "pictures": []}', 422, "pictures has 0 keys; it may have 1 to 50"),
        (b'{"class": "smirk", "pictures": ["a", "a"]}', 422, "pictures has 'a' twice; it may have each key once"),
        (
            json.dumps({"class": "a", "pictures": list(map(str, range(51)))}).encode(),
            422,
            "pictures has 51 keys; it may ",
        ),
        (b'{"class": "smirk", "pictures": ["../../x"]}', 404, "picture is '../../x', which was removed or taught"),
        (b'{"class": "../x", "pictures": ["a"]}', 422, "class is '../x'; it may be up to 60 letters"),
        (b'{"class": "a\\u0000b", "pictures": ["a"]}', 422, "class is 'a\\x00b'; it may be up to"),
        (b'{"class": " ", "pictures": ["a"]}', 422, "class is ' '; it may be up to"),
    ],
)
def test_a_malformed_lesson_is_refused_before_anything_is_learned(world, body, expected, said):
    answer = world.client.post("/teach", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (expected, said)
    assert world.client.get("/teach").json() == {"state": "idle"}


class TestDraft:
    """A model that waits to be accepted is decided on by its own key, once, and nothing takes its place."""

    def test_another_than_the_one_that_was_looked_at_is_not_accepted(self, world):
        stale = _with(world, object()).visitor.teaching.key
        _with(world, object())  # another tab discarded it and taught another
        for how in ("accept", "discard"):
            answer = world.client.post(f"/teach/{how}?model={stale}")
            assert answer.status_code == 409
            assert answer.json()["error"].startswith(f"model is '{stale}', which does not wait to be accepted, or no ")
        assert world.picture(f"/predict?model={stale}").status_code == 404
        assert world.client.get("/teach").json()["state"] == "done"

    def test_another_browsers_is_not_there(self, world):
        key = _with(world, object()).visitor.teaching.key
        other = TestClient(world.app, base_url=HERE)
        other.get("/", params={"token": world.links[-1]})
        assert other.get(f"/model?model={key}").status_code == 404
        assert other.post(f"/teach/accept?model={key}").status_code == 409

    def test_it_is_not_lost_to_the_next_class(self, world):
        keys = world.collect(1)
        waiting = _with(world, object()).visitor.teaching
        answer = world.teach("wink", keys)
        assert answer.json()["error"] == "smirk waits to be accepted; accept or discard it before another is taught"
        assert (answer.status_code, world.visitor.teaching) == (409, waiting)
        waiting.state = "running"
        answer = world.teach("wink", keys)
        assert (answer.status_code, world.visitor.teaching) == (503, waiting)

    def test_one_that_is_made_while_another_lesson_is_read_is_not_lost(self, world, monkeypatch):
        keys = world.collect(1)
        asked, made = world.service._predictor, []

        def meanwhile(asked_for):
            made.append(_with(world, object()).visitor.teaching)
            return asked(asked_for)

        monkeypatch.setattr(world.service, "_predictor", meanwhile)
        assert world.teach("wink", keys).status_code == 409
        assert [world.visitor.teaching] == made

    def test_what_is_collected_for_the_next_class_stays(self, world, monkeypatch):
        taught, more = world.collect(2), []
        _with(world, object()).visitor.teaching.pictures = tuple(taught)
        monkeypatch.setattr(world.shelf, "accept", lambda draft: "stored")
        more = [world.picture("/teach/pictures", png(face)).json()["key"] for face in world.faces[2:4]]
        answer = world.decide("accept")
        assert (answer.status_code, answer.json()) == (201, {"model": "stored"})
        assert [one["key"] for one in world.client.get("/teach/pictures").json()["pictures"]] == more
        assert world.client.get("/teach").json()["state"] == "accepted"
        assert world.decide("accept").status_code == 409  # only once


def test_a_class_that_the_model_knows_is_refused(world):
    answer = world.teach("Happy", world.collect(1))
    assert (answer.status_code, answer.json()["error"][:39]) == (422, "class is 'Happy', which the model knows")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("variant=other", "variant is 'other'; it may be one of guided, plain"),
        ("face=1", "face is 1; it may be 0"),
        ("face=-1", "face is '-1'"),
        ("face=%D9%A1", "it may be the number of a face"),
        ("face=99999", "it may be the number of a face"),
        ("class=none", "class is 'none'; it may be one of happy"),
    ],
)
def test_a_question_about_a_map_that_cannot_be_is_refused(world, query, said):
    answer = world.picture(f"/explain?{query}")
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_an_error_of_the_program_is_told_without_its_words(world, monkeypatch, logged):
    monkeypatch.setattr(world.service._shelf, "entries", lambda: 1 / 0)
    answer = world.client.get("/models")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert "division by zero" in logged.text
    monkeypatch.undo()
    assert world.client.get("/models").status_code == 200


def test_a_body_that_is_far_too_large_is_not_read_to_its_end(world):
    chunk = {"type": "http.request", "body": bytes(1_000_000), "more_body": True}
    assert world.raw("/predict", "image/png", *itertools.repeat(chunk, 41)) == 413


@pytest.mark.slow
def test_a_guided_map_is_warned_of(world):
    plain, guided = (world.picture(f"/explain?variant={one}").json() for one in ("plain", "guided"))
    assert guided["sanity"] > 0.5
    assert "fails the sanity check" in guided["warning"]
    assert abs(plain["sanity"]) < guided["sanity"]
    assert plain["map"].startswith("data:image/webp;base64,")
    assert plain["map"] != guided["map"]
    assert plain["class"] == world.picture("/predict").json()["faces"][0]["classes"][0]["class"]


@pytest.mark.slow
def test_a_class_is_taught_tried_accepted_and_gone_back_from(first, faces, draft):
    predictor, told = draft
    home = first.trained.home
    assert told["result"]["images"] == 3
    assert {"before", "after", "images"} < told["result"]["held_out"].keys()
    assert set(told["result"]["held_out"]["classes"]) <= set(first.trained.known_names)
    before = sorted(path for path in home.rglob("*") if path.is_file())
    world = _with(World(first, faces), predictor)
    waiting = world.visitor.teaching.key
    asked = world.picture(f"/predict?model={waiting}", png(faces[0])).json()["faces"][0]["classes"]
    assert "smirk" in {one["class"] for one in asked}
    assert sorted(path for path in home.rglob("*") if path.is_file()) == before  # nothing is stored until then
    measured = calibration.measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "measure", None)  # it was, and is not again
        key = world.decide("accept").json()["model"]
    assert calibration.of(world.shelf.predictor(key).trained) == predictor.calibration == measured(predictor.trained)
    listed = {one["key"]: one for one in world.client.get("/models").json()["models"]}
    assert (listed[key]["class"], listed[key]["made_from"], listed[key]["images"]) == ("smirk", "first", 3)
    added = set(home.rglob("*")) - set(before)
    assert all(path.is_relative_to(home / "taught") for path in added if path.is_file())
    assert world.picture(f"/predict?model={key}", png(faces[0])).json()["faces"][0]["classes"] == asked
    again = World(first, faces)  # as after a new start
    assert again.picture(f"/predict?model={key}", png(faces[0])).json()["faces"][0]["classes"] == asked
    back = again.picture("/predict", png(faces[0])).json()["faces"][0]["classes"]
    assert "smirk" not in {one["class"] for one in back}
    assert again.teach("smirk", again.collect(1), f"/teach?model={key}").status_code == 422
    assert world.picture(f"/predict?model={waiting}").status_code == 404
    shown = [world.client.get(f"/exemplars?model={one}").json()["exemplars"] for one in ("first", key)]
    assert {one["class"] for one in shown[0]} == set(first.trained.known_names)
    assert all(len(one["pictures"]) == min(60, one["images"]) for one in shown[1])
    assert shown[1][: len(shown[0])] == shown[0]
    [own] = shown[1][len(shown[0]) :]
    assert (own["class"], own["taught"], own["images"], len(own["pictures"])) == ("smirk", True, 3, 3)
