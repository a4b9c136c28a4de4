"""The settings that every measurement receives, and the form of its result: one dict, ready for JSON."""

import dataclasses
import pathlib
from typing import Any

import ml_collections

from fer_jax.bench import arithmetic, timing
from fer_jax.phases.fold import Fold
from fer_jax.runs.progress import log


@dataclasses.dataclass(frozen=True)
class Bench:
    """The settings of a benchmark.

    large: the resolved config whose network steps, evaluation, selection and maps are measured with.
    small: that of epochs, runs and devices, and what the scaling curves vary.
    small_from: its file, and the overrides after it.
    quick: fewer rounds, fewer pictures, fewer sizes.
    console: where progress is shown; None where there is no terminal.
    profile: the folder for a trace of two epochs; None writes none.
    """

    large: ml_collections.FrozenConfigDict
    small: ml_collections.FrozenConfigDict
    small_from: tuple[str, ...]
    quick: bool = False
    console: Any = None
    profile: pathlib.Path | None = None

    def rounds(self, usual: int) -> int:
        """Returns the number of rounds: the usual one, or fewer with `quick`."""
        return 3 if self.quick else usual

    def budget(self, usual: float) -> float:
        """Returns the seconds after which no further round begins."""
        return min(usual, 20.0) if self.quick else usual

    def few_subjects(self, config: ml_collections.ConfigDict) -> int:
        """Returns a number of subjects that is enough for every fold, where only a batch of pictures is needed."""
        return max(config.protocol.n_folds, 10)

    def record(
        self,
        name: str,
        settings: dict,
        images: int,
        seconds: list[float],
        warm: timing.Warm,
        work: arithmetic.Work | None = None,
        **more: Any,
    ) -> dict:
        """Returns one measurement as a dict.

        Args:
          images: that each of `seconds` is for.
          work: what is computed in the same time; None where it is no arithmetic.
          more: what this measurement alone has.
        """
        share = work and work.multiply_adds / min(seconds) / arithmetic.matmul_peak().per_second / work.devices
        if share is not None and share > 1:
            log.warning(f"{name}: {share:.2f} of the matmul peak: that was measured while other work went on")
        return {
            "name": name,
            "settings": {**settings, "images": images, "quick": self.quick},
            "images_per_second": timing.rates(images, seconds),
            "compile_seconds": warm.compile_seconds,
            "peak_memory_bytes": warm.peak_bytes,
            "peak_memory_of": warm.peak_of,
            "multiply_adds": {"formula": work and work.multiply_adds, "xla": work and work.by_xla},
            "share_of_matmul_peak": share,
            **more,
        }


def described(fold: Fold, batch_size: int) -> dict:
    """Describes the network and its input, as settings."""
    m = fold.config.model
    return {
        "network": m.name,
        "stages": list(m.get("depths", ())),
        "widths": list(m.get("widths", ())),
        "pixels": int(fold.images.shape[1]),
        "classes": fold.n_classes,
        "batch": batch_size,
    }
