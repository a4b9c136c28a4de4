"""`fer-jax predict … camera`: a model's answers to a camera's pictures, live; needs OpenCV."""

import contextlib
import time
from collections.abc import Callable

import numpy as np

from fer_jax.errors import UserError
from fer_jax.inference.predict import Predictor

WINDOW = "fer-jax, q ends"
COLOUR = (40, 220, 40)


def opencv():
    """Returns the module cv2.

    Raises:
      UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise UserError("camera needs OpenCV; install it with pip install opencv-python") from None
    return cv2


def run(
    predictor: Predictor, tell: Callable[[str], None] = print, every: float = 1.0, device: int = 0, top: int = 3
) -> None:
    """Shows the camera's picture with the face and its top classes until q is pressed or the camera ends.

    Without a screen or with an OpenCV without windows, it only prints the answers, a line every `every` seconds.

    Raises:
      UserError: no OpenCV, or no camera.
    """
    cv2 = opencv()
    camera = cv2.VideoCapture(device)
    try:
        if not camera.isOpened():
            raise UserError(f"camera {device} cannot be opened; it may be in use, or not there")
        shows, last = True, -every
        while True:
            there, frame = camera.read()
            if not there:
                return
            outcome, lines = answer(predictor, np.ascontiguousarray(frame[..., ::-1]), top)
            if time.monotonic() - last >= every:
                last = time.monotonic()
                tell(", ".join(lines))
            if shows:
                try:
                    cv2.imshow(WINDOW, _drawn(cv2, frame, outcome, lines))
                    if cv2.waitKey(1) & 0xFF == ord("q"):
                        return
                except cv2.error:
                    shows = False
    finally:
        camera.release()
        with contextlib.suppress(cv2.error):  # an OpenCV without windows
            cv2.destroyAllWindows()


def answer(predictor: Predictor, image: np.ndarray, top: int = 3) -> tuple[dict, list[str]]:
    """Finds the face in u8[H, W, 3] RGB; returns what was found, and the answer in words, a line a class."""
    outcome, face = predictor.look(image)
    if face is None:
        return outcome, ["no face found"]
    p = predictor.probabilities(face[None])[0]
    names = predictor.trained.class_names
    return outcome, [f"{names[c]} {100 * p[c]:.0f} %" for c in np.argsort(-p, kind="stable")[:top]]


def _drawn(cv2, frame: np.ndarray, outcome: dict, lines: list[str]) -> np.ndarray:
    frame = frame.copy()
    if "square" in outcome:
        left, top, side = outcome["square"]
        cv2.rectangle(frame, (left, top), (left + side, top + side), COLOUR, 2)
    for i, line in enumerate(lines):
        cv2.putText(frame, line, (10, 30 + 28 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.8, COLOUR, 2)
    return frame
