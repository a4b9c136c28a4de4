"""Calibrated probabilities: one temperature, fitted on the validation images of a run.

Temperature scaling (Guo et al., ICML 2017) divides logits by one number, so that no answer changes.
"""

import contextlib
import pathlib

import jax.numpy as jnp
import numpy as np
from scipy import special

from fer_jax.data.arrays import FaceArrays
from fer_jax.errors import UserError
from fer_jax.inference.trained import Trained, load_data, logits, scores
from fer_jax.protocol import Split
from fer_jax.runs.progress import log
from fer_jax.runs.results import write_json
from fer_jax.runs.workdir import read as read_json

FORMAT = 2
TEMPERATURES = (0.02, 5000.0)  # discriminants of many features have scores in the hundreds
BINS = 15


def log_probabilities(logits: np.ndarray, class_mask: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Computes the log softmax over the known classes bool[C] of f[N, C] / T, f64[N, C]; -inf for the others.

    >>> np.exp(log_probabilities(np.array([[0.0, 0.0, 9.0]]), np.array([True, True, False]))).round(3).tolist()
    [[0.5, 0.5, 0.0]]
    """
    masked = np.where(class_mask, np.asarray(logits, np.float64) / temperature, -np.inf)
    return special.log_softmax(masked, axis=1)


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, class_mask: np.ndarray, temperature: float = 1.0
) -> float:
    """Computes the mean of -log p of the true class, for logits f[N, C] and labels i[N] of known classes.

    >>> round(negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 3]), np.ones(4, bool)), 3)
    1.386
    """
    log_p = log_probabilities(logits, class_mask, temperature)
    return float(-log_p[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray, class_mask: np.ndarray) -> float:
    """Fits the temperature with the least negative log-likelihood, within TEMPERATURES.

    Args:
      logits: f[N, C].
      labels: i[N], each a known class.
      class_mask: bool[C].

    Raises:
      ValueError: no example.

    >>> logits = np.log([[0.8, 0.2]] * 5)
    >>> round(fit_temperature(logits, np.array([0, 0, 0, 0, 1]), np.ones(2, bool)), 2)
    1.0
    """
    if len(labels) == 0:
        raise ValueError("a temperature needs at least one example")
    from scipy import optimize  # a fifth of a second, and what is kept is not fitted again

    low, high = np.log(TEMPERATURES)
    minimum = optimize.minimize_scalar(
        lambda t: negative_log_likelihood(logits, labels, class_mask, np.exp(t)), bounds=(low, high), method="bounded"
    )
    return float(np.exp(minimum.x))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Computes the mean of |confidence - accuracy| over bins of confidence, weighted by their size.

    Args:
      probabilities: f[N, C].
      labels: i[N].
      bins: of equal width over (0, 1] (Naeini et al., AAAI 2015).

    Raises:
      ValueError: no example.

    >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])), 3)
    0.4
    """
    if len(labels) == 0:
        raise ValueError("a calibration error needs at least one example")
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_ = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def measure(trained: Trained, data: FaceArrays | None = None) -> dict:
    """Fits the temperature on validation images, and measures its effect there and on the test images.

    Args:
      data: the run's data set if it is at hand; None reads it.

    Returns:
      temperature, and for `validation` and `test` the images and the calibration error and negative log-likelihood
      before and after. `validation` also has what its images are, by the run's protocol: `shared_with`, the part of the
      split ("training", "test") that has them, too, or None, and `people`, or None where they are unknown.

    Raises:
      UserError: the data of the run are not there any more, or have changed.
    """
    data, split = load_data(trained, data)
    known, calibration = trained.class_mask, {}
    seen = {}
    for name, rows in (("validation", split.validation), ("test", split.test)):
        rows = rows[known[data.label[rows]]]
        seen[name] = scores(trained, data.image[rows]), data.label[rows]
    temperature = fit_temperature(*seen["validation"], known)
    calibration["validation"] = _what(data, split, known)
    for name, (own_logits, labels) in seen.items():
        calibration.setdefault(name, {})["images"] = len(labels)
        for when, t in (("before", 1.0), ("after", temperature)):
            probabilities = np.exp(log_probabilities(own_logits, known, t))
            calibration[name][when] = {
                "expected_calibration_error": expected_calibration_error(probabilities, labels),
                "negative_log_likelihood": negative_log_likelihood(own_logits, labels, known, t),
            }
    return {"temperature": temperature, **calibration}


def _what(data: FaceArrays, split: Split, known: np.ndarray) -> dict:
    rows = split.validation[known[data.label[split.validation]]]
    parts = {"training": split.train, "test": split.test}
    people = None if data.metadata.get("split_by") == "image" else len(np.unique(data.subject[rows]))
    return {
        "shared_with": next((name for name, part in parts.items() if np.isin(rows, part).any()), None),
        "people": people,
    }


def fitted_on(calibration: dict) -> str:
    """Describes in words what a temperature was fitted on, from what `measure` returns.

    >>> fitted_on({"validation": {"images": 18, "people": 2, "shared_with": None}})
    '18 validation images of 2 people who are in neither training nor test'
    >>> fitted_on({"validation": {"images": 9, "people": None, "shared_with": "training"}})
    '9 images that it was trained on'
    """
    validation = calibration["validation"]
    if validation["shared_with"] == "test":
        return f"{validation['images']} test images, the very ones that the error is measured on"
    if validation["shared_with"] == "training":
        return f"{validation['images']} images that it was trained on"
    of = "" if validation["people"] is None else f" of {validation['people']} people who are"
    return f"{validation['images']} validation images{of} in neither training nor test"


def of(trained: Trained, data: FaceArrays | None = None) -> dict:
    """Returns the calibration of a model, measured once and saved in `calibration/`; without data only `temperature` 1.

    What is saved is of these very parameters: of others it is measured anew.

    Args:
      data: the run's data set if it is at hand; None reads it where there is something to measure.
    """
    path, stamp = _saved(trained)
    with contextlib.suppress(OSError, UserError):
        there = read_json(path)
        if {key: there.get(key) for key in stamp} == stamp:
            return there["calibration"]
    log.info("fitting the temperature, once for this model")
    try:
        calibration = measure(trained, data)
    except (UserError, OSError) as error:
        log.warning("probabilities are not calibrated: %s", error)
        return {"temperature": 1.0}
    save(trained, calibration)
    return calibration


def save(trained: Trained, calibration: dict) -> None:
    """Saves what `measure` returned of a model where `of` looks for it; a folder that cannot be written to is left."""
    path, stamp = _saved(trained)
    with contextlib.suppress(OSError):  # it is measured again
        path.parent.mkdir(exist_ok=True)
        write_json(path, {**stamp, "calibration": calibration})


def _saved(trained: Trained) -> tuple[pathlib.Path, dict]:
    """Returns where a model's calibration is saved, and what says that it is of these very parameters."""
    stamp = {"format": FORMAT, "model_sha256": trained.digest}
    return trained.home / "calibration" / f"{trained.name}.json", stamp


def probabilities(trained: Trained, images: np.ndarray, temperature: float) -> np.ndarray:
    """Computes calibrated probabilities f64[B, C] of faces u8[B, H, W, 3], 0 for unknown classes."""
    own_logits = np.asarray(logits(trained.params, jnp.asarray(images), trained.network))
    return np.exp(log_probabilities(own_logits, trained.class_mask, temperature))
