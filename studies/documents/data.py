"""The tables of committed results that docs/faces.md and docs/units.md show."""

from fer_jax.runs.names import method_name, percent
from studies.documents.markdown import markdown

DETECTORS = ("hog", "haar", "blazeface", "mediapipe")


def detectors(found: dict) -> str:
    """The comparison of face detectors, a detector a row."""
    header = ["", "faces in photographs", "portraits", "… turned by 10°, 20°, 30°", "… darker, brighter", "… smaller",
              "25-pixel faces", "false alarms", "rendered faces", "ms a picture", "MB", "licence"]  # fmt: skip
    rows = [_detector(found["detectors"][name]) for name in DETECTORS if name in found["detectors"]]
    return markdown(header, rows, words_last=True)


def _detector(d: dict) -> list[str]:
    def of(*rows: dict) -> str:
        return f"{sum(r['hits'] for r in rows)} of {sum(r['n'] for r in rows)}"

    p, ms = d["portraits, the largest box is the face"], d["milliseconds a photograph"]
    alarms = d["false alarms in photographs"]["count"] + d["lfw_subset pieces without a face, any box"]["count"]
    return [
        d["what"].rstrip("."),
        of(d["faces in photographs"]),
        of(p["as it is"]),
        ", ".join(of(p[f"turned {angle}"]) for angle in (10, 20, 30)),
        of(*(row for key, row in p.items() if key.startswith("light"))),
        of(*(row for key, row in p.items() if key.startswith("scaled"))),
        of(d["lfw_subset"]),
        str(alarms),
        of(d["facs_faces renders, 224 px"]),
        f"{ms['median']} [{ms['low']}, {ms['high']}]",
        " + ".join(f"{package['megabytes']:.0f}" for package in d["packages"].values()),
        ", ".join(package["licence"] for package in d["packages"].values()),
    ]


def prepare(found: dict) -> str:
    """The speed of `fer-jax data prepare`, with face finding and without."""
    header = ["", "images/s, median [lowest, highest]", "CPU ms an image"]
    rows = []
    for name, what in {"without_detection": "without face finding", "whole": "with it"}.items():
        rate, cpu = (found["rows"][name][key] for key in ("images_per_second", "cpu_milliseconds_an_image"))
        rows.append([
            what,
            f"{rate['median']:.0f} [{rate['low']:.0f}, {rate['high']:.0f}] (n = {rate['n']})",
            f"{cpu['median']:.1f} [{cpu['low']:.1f}, {cpu['high']:.1f}]",
        ])  # fmt: skip
    s, e = found["settings"], found["environment"]
    return (
        f"{markdown(header, rows)}\n\n{s['images']} pictures of {s['width']} × {s['height']} "
        f"({s['mean_kilobytes']:.0f} kB) to {s['size']}, {s['jobs']} processes on {e['cores']} cores, load of other "
        f"work before {e['load_before']}; every run of a row gave the same bytes."
    )


def checkpoint_overhead(found: dict) -> str:
    """What checkpoints cost a run whose every increment is saved, and how long it waits for them."""
    rows = {"wall time": "wall", "processor time": "processor"}
    table = [[name, percent(found["overhead"][key])] for name, key in rows.items()]
    s = found["settings"]
    return (
        f"{markdown(['', 'saving costs, %, mean [95 % interval]'], table)}\n\nThe quickstart's continual phase with "
        f"every one of {s['increments']} increments saved, {s['pairs']} pairs of runs. Training waited for saves "
        f"{percent(found['waited'])} % of its time, n counting runs; a background thread writes the rest."
    )


def units(found: dict) -> str:
    """Final accuracy of classifiers of action units, a method a row and an error rate a column, and Bayes accuracy."""
    levels, settings = found["levels"], found["settings"]
    methods = list(levels[0]["estimates"])
    header = ["final accuracy, %, mean [95 % interval]", *(
        f"{100 * level['flips']:g} % flips, noise {level['noise']:g}" if level["flips"] else "exact units"
        for level in levels
    )]  # fmt: skip
    rows = [["Bayes, of units", *(f"{100 * level['bayes']['final_accuracy']:.1f}" for level in levels)]]
    rows += [
        [method_name(name), *(_mean(level["estimates"][name]["final_accuracy"]) for level in levels)]
        for name in methods
    ]
    people = f"{settings['n_subjects']} people a seed, {settings['seeds']} seeds, each with people of its own"
    orders = f"{settings['orders']} class orders; 21 expressions, six at once and fifteen one by one"
    words = [
        f"{people}, {orders}. The Bayes accuracy is that of the flipped units; it leaves the noise out, so it is an "
        "upper bound of what units alone allow."
    ]
    cold, warm = (found["run_seconds"][kind]["median"] for kind in ("cold", "warm"))
    words.append(
        "Features are a base model's, of pictures in which nothing is flipped. A complete run of `configs/units.py` "
        f"with `units_lda`, three class orders and the report, takes {warm:.0f} s, and {cold:.0f} s where all programs "
        "are compiled; faces are rendered before."
    )
    file = "([docs/results/units.json](results/units.json), made by `make units`)"
    words[-1] = f"{words[-1][:-1]} {file}."
    return f"{markdown(header, rows)}\n\n{' '.join(words)}"


def _mean(estimate: dict) -> str:
    return percent(estimate).partition(" (")[0]
