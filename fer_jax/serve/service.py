"""What each address of `fer-jax serve` does, as functions of plain values: a request in, a JSON-like value out.

Nothing here knows a web framework. Every answer is made by the functions that `predict`, `explain` and `teach` call.
"""

import dataclasses
import datetime
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fer_jax.errors import UserError
from fer_jax.explain import maps, overlays
from fer_jax.inference import calibration, teach
from fer_jax.inference import predict as predicting
from fer_jax.inference.predict import Predictor
from fer_jax.inference.taught import TaughtClass
from fer_jax.inference.trained import Trained
from fer_jax.runs.progress import log
from fer_jax.serve import pictures
from fer_jax.serve.jobs import Queue, Teacher, Teaching
from fer_jax.serve.limits import Limits, Refusal
from fer_jax.serve.shelf import FIRST, Entry, Shelf, described
from fer_jax.serve.visitors import Picture, Visitor

INSANE = 0.5  # rank correlation with a randomised head's map, from which a map is warned of
MAP_SIDE = 256  # pixels
LESSON = '{"class": "smirk", "pictures": ["…"]}, with keys of GET /teach/pictures'


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request: the browser that sent it, its query and path parameters, and its body."""

    visitor: Visitor
    query: Mapping[str, str]
    path: Mapping[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    """An answer: its status and what becomes JSON."""

    status: int
    content: Any


class Service:
    """Answers requests; one question at a time for the model, one teaching at a time."""

    def __init__(self, shelf: Shelf, limits: Limits):
        self.limits = limits
        self._shelf, self._queue, self._teacher = shelf, Queue(limits.waiting), Teacher()

    def prepare(self) -> None:
        """Prepares maps and the exemplars on the teacher's thread, so that the first one who asks need not wait."""
        first = self._shelf.first
        size = first.trained.image_size
        face = np.zeros((size, size, 3), np.uint8)
        self._teacher.prepare(lambda: _explained(first, {"square": [0, 0, size]}, face, None, "plain"))
        self._teacher.prepare(lambda: self._shelf.exemplars(first.trained))

    def close(self) -> None:
        """Waits for what runs."""
        self._queue.close()
        self._teacher.close()

    def _predictor(self, asked: Asked) -> Predictor:
        key, teaching = asked.query.get("model", FIRST), asked.visitor.teaching
        draft = teaching.draft if teaching is not None and teaching.key == key else None
        return draft or self._shelf.predictor(key)

    async def models(self, asked: Asked) -> Reply:
        """Lists the models."""
        entries = await self._queue.run(self._shelf.entries)
        return Reply(200, {"models": [_listed(entry) for entry in entries], "first": FIRST})

    async def model(self, asked: Asked) -> Reply:
        """Describes one model: classes, calibration, card."""
        return Reply(200, await self._queue.run(lambda: described(self._predictor(asked))))

    async def exemplars(self, asked: Asked) -> Reply:
        """Shows what is replayed when a class is taught beside those that a model knows."""

        def show() -> list[dict]:
            return self._shelf.exemplars(self._predictor(asked).trained)

        return Reply(200, {"exemplars": await self._queue.run(show)})

    async def predict(self, asked: Asked) -> Reply:
        """Finds the faces in a picture and answers each."""

        def answer() -> dict:
            predictor = self._predictor(asked)
            image = pictures.read(asked.body, self.limits)
            model, found = predictor.trained, predictor.look_for_all(image, self.limits.faces)
            height, width = image.shape[:2]
            rows = []
            for outcome, face in found:  # one by one, so that every picture runs the same compiled program
                p = predictor.probabilities(face[None])[0]
                rows.append({**outcome, "classes": predicting.ranked(model, p, len(model.known_names))})
            return {"size": [width, height], "faces": rows}

        return Reply(200, await self._queue.run(answer))

    async def explain(self, asked: Asked) -> Reply:
        """Draws where the model looks in one face of a picture, and checks that map."""
        variant = asked.query.get("variant", "plain")
        if variant not in maps.VARIANTS:
            raise Refusal(422, f"variant is {variant!r}; it may be one of {', '.join(maps.VARIANTS)}")
        number = asked.query.get("face", "0")
        if not (number.isascii() and number.isdecimal() and len(number) < 4):
            raise Refusal(422, f"face is {number!r}; it may be the number of a face, from 0")

        def answer() -> dict:
            predictor = self._predictor(asked)
            found = predictor.look_for_all(pictures.read(asked.body, self.limits), self.limits.faces)
            if int(number) >= len(found):
                may = "it may be 0" if len(found) == 1 else f"it may be 0 to {len(found) - 1}"
                raise Refusal(422, f"face is {number}; {may if found else 'none is found in the picture'}")
            return _explained(predictor, *found[int(number)], asked.query.get("class"), variant)

        return Reply(200, await self._queue.run(answer))

    async def collect(self, asked: Asked) -> Reply:
        """Takes a picture to teach by: finds its largest face. One without a new face is left out, which is no error:
        a camera sends such pictures now and then."""

        def look() -> Reply:
            predictor = self._predictor(asked)
            outcome, face = predictor.look(pictures.read(asked.body, self.limits))
            if face is None:
                return Reply(200, {**outcome, "left_out": "no face is found"})
            picture = Picture(hashlib.sha256(asked.body).hexdigest(), face)
            try:
                teach.check_face(predictor.trained, "it", picture.digest, face, {})
                for other in asked.visitor.pictures().values():
                    teach.check_face(predictor.trained, "it", picture.digest, face, {"another picture": other.face})
            except UserError as error:
                return Reply(200, {**outcome, "left_out": str(error)})
            key = asked.visitor.collect(picture)
            return Reply(201, {**outcome, "key": key, "picture": pictures.as_url(face, MAP_SIDE // 2)})

        return await self._queue.run(look)

    async def collected(self, asked: Asked) -> Reply:
        """Lists the pictures that a browser collected."""

        def show() -> list[dict]:
            found = asked.visitor.pictures().items()
            return [{"key": key, "picture": pictures.as_url(one.face, MAP_SIDE // 2)} for key, one in found]

        return Reply(200, {"pictures": await self._queue.run(show)})

    async def remove(self, asked: Asked) -> Reply:
        """Removes one of the collected pictures."""
        if not asked.visitor.remove(asked.path["key"]):
            raise _no_picture(asked.path["key"])
        return Reply(200, {"pictures": len(asked.visitor.pictures())})

    async def teach(self, asked: Asked) -> Reply:
        """Starts to teach a class."""
        name, keys = _lesson(asked.body)
        name = teach.checked_name(name, "class")
        visitor = asked.visitor
        there = visitor.pictures()
        for key in keys:
            if key not in there:
                raise _no_picture(key)
        _check_free(visitor)
        predictor = await self._queue.run(lambda: self._predictor(asked))
        teach.check_unknown(predictor.trained, name, "class")
        new = _new_class(predictor.trained, name, [there[key] for key in keys])
        _check_free(visitor)  # once more: others were answered meanwhile. From here to the end none is.
        teaching = Teaching(name, asked.query.get("model", FIRST), tuple(keys))
        self._teacher.start(teaching, functools.partial(self._learn, predictor, new))
        visitor.teaching = teaching
        return Reply(202, _told(teaching))

    def _learn(self, predictor: Predictor, new: TaughtClass, tell: Callable[[str], None]) -> tuple[Predictor, dict]:
        tell("reading the run's data")
        data, _ = self._shelf.data
        folder = self._shelf.free_folder(predictor.trained.home)
        learned = teach.learn(predictor.trained, new, folder, data, tell)
        tell("fitting the temperature")
        draft = self._shelf.ready(learned, calibration.measure(learned, data))
        facts = learned.taught.learned
        return draft, {"images": len(new.images), "held_out": facts["held_out"], "left_out": facts["left_out"]}

    async def progress(self, asked: Asked) -> Reply:
        """Describes how far the class is that a browser teaches."""
        teaching = asked.visitor.teaching
        return Reply(200, {"state": "idle"} if teaching is None else _told(teaching))

    async def accept(self, asked: Asked) -> Reply:
        """Stores the model that a browser taught, and removes the pictures that it was taught by."""

        def store() -> str:
            teaching = _waiting(asked)
            key = self._shelf.accept(teaching.draft)
            teaching.settle("accepted")
            asked.visitor.remove(*teaching.pictures)
            return key

        try:
            return Reply(201, {"model": await self._queue.run(store)})
        except OSError as error:
            raise Refusal(507, f"the model cannot be stored: {error.strerror}; it waits to be accepted") from None

    async def discard(self, asked: Asked) -> Reply:
        """Removes the model that a browser taught; its pictures stay."""
        await self._queue.run(lambda: _waiting(asked).settle("discarded"))
        return Reply(200, {"state": "discarded"})


def _check_free(visitor: Visitor) -> None:
    """Checks that a browser may teach another class.

    Raises:
      Refusal: 503, it teaches one; 409, one waits to be accepted, and would be lost.
    """
    state = visitor.teaching.state if visitor.teaching else "none"
    if state == "running":
        raise Refusal(503, f"busy: {visitor.teaching.name} is being taught; try again when it is done", retry_after=5)
    if state == "done":
        raise Refusal(
            409, f"{visitor.teaching.name} waits to be accepted; accept or discard it before another is taught"
        )


def _waiting(asked: Asked) -> Teaching:
    """Returns the teaching whose model a request is to decide on; runs on the queue's thread, where all is decided.

    Raises:
      Refusal: 409, the browser has no such model that waits.
    """
    key, teaching = asked.query["model"], asked.visitor.teaching
    if teaching is None or teaching.key != key or teaching.state != "done":
        raise Refusal(409, f"model is {key[:80]!r}, which does not wait to be accepted, or no longer; it may be the "
                           "key that GET /teach has while its state is done")  # fmt: skip
    return teaching


def _no_picture(key: str) -> Refusal:
    return Refusal(404, f"picture is {key[:80]!r}, which was removed or taught, or never was; it may be a key of GET "
                        "/teach/pictures")  # fmt: skip


def answered(error: Exception) -> Refusal:
    """Returns the answer to an error of a request: a mistake is told, anything else is logged."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UserError):
        return Refusal(422, str(error))
    log.error("a request failed", exc_info=error)
    return Refusal(500, "the server failed; its terminal says how")


def _listed(entry: Entry) -> dict:
    if entry.taught is None:
        return {"key": entry.key, "name": entry.name, "made_from": None}
    held_out = entry.taught.learned["held_out"]
    when = (entry.taught.folder / "taught.json").stat().st_mtime
    return {
        "key": entry.key, "name": entry.name, "made_from": entry.made_from, "class": entry.taught.classes[-1].name,
        "images": len(entry.taught.classes[-1].images), "before": held_out["before"], "after": held_out["after"],
        "accepted": datetime.datetime.fromtimestamp(when).astimezone().isoformat(timespec="seconds"),
    }  # fmt: skip


def _told(teaching: Teaching) -> dict:
    return {
        "state": teaching.state, "key": teaching.key, "class": teaching.name, "model": teaching.model,
        "pictures": list(teaching.pictures), "lines": list(teaching.lines), "result": teaching.result,
        "problem": teaching.problem,
    }  # fmt: skip


def _explained(predictor: Predictor, outcome: dict, face: np.ndarray, class_name: str | None, variant: str) -> dict:
    model = predictor.trained
    if class_name is not None and class_name not in model.known_names:
        raise Refusal(422, f"class is {class_name!r}; it may be one of {', '.join(model.known_names)}")
    drawn = overlays.of(model, model.home, class_name, variant)
    p = predictor.probabilities(face[None])[0]
    c = int(p.argmax()) if drawn.class_index is None else drawn.class_index
    classes = np.array([c])
    images = jnp.asarray(face[None], jnp.float32) / 255
    same = float(maps.sanity(model.params, images, jnp.asarray(classes), model.network, drawn.layer, variant)[0])
    return {
        "class": model.class_names[c], "probability": round(float(p[c]), 6), "variant": variant, "layer": drawn.layer,
        "square": outcome["square"], "face": pictures.as_url(face, MAP_SIDE),
        "map": pictures.as_url(drawn.draw(face[None], classes)[0], MAP_SIDE),
        "sanity": None if np.isnan(same) else round(same, 3), "warning": _warning(same),
    }  # fmt: skip


def _warning(same: float) -> str | None:
    """Returns what to be told of a map by its rank correlation with that of a randomised head, if anything.

    >>> _warning(0.1)
    """
    if np.isnan(same):
        return "This map is constant: it marks no part of the face."
    if same >= INSANE:
        return (
            "This map fails the sanity check: with a randomised head it stays nearly as it is (rank correlation "
            f"{same:.2f}; 0 is right). It shows strong features of the picture, not what was learned of the class."
        )
    return None


def _new_class(model: Trained, name: str, chosen: list[Picture]) -> TaughtClass:
    """Returns a class of a browser's pictures, which are called by their numbers: its files' names go nowhere.

    Raises:
      UserError: the model was taught one of them before.
    """
    called = tuple(f"picture {i}" for i in range(1, 1 + len(chosen)))
    for i, one in enumerate(chosen):
        others = {called[j]: chosen[j].face for j in range(i)}
        teach.check_face(model, called[i], one.digest, one.face, others)
    return TaughtClass(name, called, tuple(one.digest for one in chosen), np.stack([one.face for one in chosen]))


def _lesson(body: bytes) -> tuple[str, list[str]]:
    """Returns the class's name and the pictures' keys of a request to teach.

    Raises:
      Refusal: 400, it is no such JSON; 422, there are too many pictures or none.
    """
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, f"the body is no JSON; it may be {LESSON}") from None
    if not isinstance(read, dict) or read.keys() != {"class", "pictures"}:
        what = f"has the keys {', '.join(map(repr, read))[:80]}" if isinstance(read, dict) else "is no JSON object"
        raise Refusal(400, f"the body {what}; it may be {LESSON}")
    name, keys = read["class"], read["pictures"]
    if not isinstance(name, str):
        raise Refusal(400, f'class is {json.dumps(name)[:80]}; it may be a text, such as "smirk"')
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refusal(400, f"pictures is {json.dumps(keys)[:80]}; it may be a list of keys of GET /teach/pictures")
    if not 1 <= len(keys) <= teach.MOST_IMAGES:
        raise Refusal(422, f"pictures has {len(keys)} keys; it may have 1 to {teach.MOST_IMAGES}")
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise Refusal(422, f"pictures has {twice[:80]!r} twice; it may have each key once")
    return name, keys
