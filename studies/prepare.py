"""How fast is `fer-jax data prepare` on photographs of CFEE's size, with face finding and without?

Command: python -m studies.prepare --out docs/results/prepare.json     (make prepare)
Result:  docs/results/prepare.json
Time:    five minutes on two cores

Pictures are pieces of scikit-image's astronaut, enlarged to 562 × 762, turned and with noise, as JPEG of quality 90.
Without face finding is a detector that answers at once: what is left is reading, decoding, cutting, scaling, writing,
checksums and the start of the processes. Every run starts from nothing; all must give the same bytes.
Rates are by the clock and suffer from whatever else the machine does, which `load_before` tells; the CPU time that
an image takes, all processes together, does not.
"""

import hashlib
import os
import pathlib
import shutil
import statistics
import tempfile
import time

import ml_collections
import numpy as np
import PIL
import skimage.data
from PIL import Image
from rich.progress import track

from fer_jax.data import crop
from fer_jax.data.prepare.run import prepare
from studies import record

WIDTH, HEIGHT, SIZE = 562, 762, 224


class NoDetector:
    """A face in the middle of every picture, at no cost."""

    name = "none"

    @staticmethod
    def version() -> str:
        return "1"

    def __call__(self, image: np.ndarray) -> list[crop.Face]:
        height, width = image.shape[:2]
        return [crop.Face(width * 0.25, height * 0.3, width * 0.5, width * 0.5, 1.0)]


def write_pictures(root: pathlib.Path, n: int) -> int:
    """n different pictures in 22 folders; their bytes."""
    rng = np.random.default_rng(0)
    astronaut = Image.fromarray(skimage.data.astronaut()).crop((110, 10, 325, 301))
    for k in track(range(n), "pictures"):
        picture = astronaut.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR).resize((WIDTH, HEIGHT))
        pixels = np.asarray(picture, np.int16) + rng.integers(-6, 7, (HEIGHT, WIDTH, 3), np.int16)
        folder = root / f"{k % 22:02}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k:05}.jpg", quality=90)
    return sum(path.stat().st_size for path in root.rglob("*.jpg"))


def checksum(folder: pathlib.Path) -> str:
    """Returns a digest of the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def spread(values: list[float]) -> dict:
    """Returns the median with the least and the greatest of repeated runs."""
    return {"n": len(values), "median": statistics.median(values), "low": min(values), "high": max(values)}


def measure(root: pathlib.Path, folder: pathlib.Path, n: int, jobs: int, repeats: int, detector) -> dict:
    """Images a second over repeated runs from nothing."""
    config = ml_collections.ConfigDict(
        {"name": "image_folder", "manual_dir": str(root), "image_size": SIZE, "on_bad_image": "error"}
    )
    rates, cpu, sums, found = [], [], set(), None
    for repeat in range(repeats):
        out = folder / f"{detector.name.split()[0]}{repeat}"
        began, cpu_began = time.perf_counter(), sum(os.times()[:4])
        found = prepare(config, out, jobs=jobs, detector=detector)["counts"]["found"]
        rates.append(n / (time.perf_counter() - began))
        cpu.append(1000 * (sum(os.times()[:4]) - cpu_began) / n)
        sums.add(checksum(out))
        shutil.rmtree(out)
    return {
        "detector": detector.name,
        "images_per_second": spread(rates),
        "cpu_milliseconds_an_image": spread(cpu),
        "faces_found": found,
        "different_results": len(sums),
    }


def main() -> None:
    """Measures, writes JSON to `--out`, and prints rates and processor times."""
    parser = record.command(__doc__)
    parser.add_argument("--images", type=record.at_least(1), default=1000)
    parser.add_argument("--jobs", type=record.at_least(1), default=2)
    parser.add_argument("--repeats", type=record.at_least(1), default=5)
    a, load = parser.parse_args(), record.load()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "pictures"
        size = write_pictures(root, a.images)
        rows = {
            name: measure(root, pathlib.Path(folder), a.images, a.jobs, a.repeats, detector)
            for name, detector in (("without_detection", NoDetector), ("whole", crop.FaceDetector))
        }
    report = {
        "settings": {"images": a.images, "width": WIDTH, "height": HEIGHT, "size": SIZE, "jobs": a.jobs,
                     "mean_kilobytes": round(size / a.images / 1000, 1)},
        "rows": rows,
        "environment": {**record.environment("float32", load), "pillow": PIL.__version__,
                        "dlib": crop.FaceDetector.version()},
    }  # fmt: skip
    record.write(a.out, report)
    for name, row in rows.items():
        rate = row["images_per_second"]
        print(
            f"{name}: {rate['median']:.0f} images/s [{rate['low']:.0f}, {rate['high']:.0f}], n = {rate['n']}; "
            f"CPU {row['cpu_milliseconds_an_image']['median']:.1f} ms an image"
        )


if __name__ == "__main__":
    main()
