"""The tables of docs/performance.md, from what `fer-jax bench`, the Keras peer and the profile measured."""

from studies.documents.markdown import markdown

OWN_LOSS = "--config.continual.loss=focal.focal"
# Header, rows, and what belongs to them in words.
Table = tuple[list[str], list[list[str]], str]


def rate(row: dict) -> str:
    """Images a second: the median, the slowest and the fastest round."""
    found = row["images_per_second"]
    return f"{_three(found['median'])} [{_three(found['min'])}, {_three(found['max'])}] (n = {found['n']})"


def times(found: dict) -> str:
    """A paired ratio with its interval; n rounds."""
    if found["low"] is None or found["n"] < 2:
        return f"{found['median']:.2f} ×"
    return f"{found['median']:.2f} × [{found['low']:.2f}, {found['high']:.2f}]"


def _three(value: float) -> str:
    """Three figures that count, none lost before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _work(row: dict, images: int) -> str:
    """Multiply-adds an image by formula and by XLA."""
    found = row["multiply_adds"]
    by_xla = "–" if found["xla"] is None else f"{found['xla'] / images / 1e9:.3g}"
    return f"{found['formula'] / images / 1e9:.3g} / {by_xla}"


def _share(row: dict) -> str:
    share = row["share_of_matmul_peak"]
    return "–" if share is None else f"{100 * share:.0f} %"


def _gigabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f} GB"


def of(found: dict, name: str) -> list[dict]:
    """The measurements of one name."""
    return [row for row in found["measurements"] if row["name"] == name]


def where(found: dict) -> str:
    """The machine and the versions, as a sentence's end."""
    e = found["environment"]
    d = e["device"]
    processor = (e.get("cpu") or {}).get("model")
    cores = f"{e['cores']} core{'s' * (e['cores'] > 1)}" + (f", {processor}" if processor else "")
    quick = any(row.get("settings", {}).get("quick") for row in found.get("measurements", ()))
    return (
        f"{d['count']} × {d['kind']} ({cores}), Python {e['python']}, jax {e['packages']['jax']}, load of "
        f"other work before {e['load_before']}{'; a quick look' if quick else ''}"
    )


def walk(found: dict) -> str:
    """What a newcomer waits for: the demo from nothing, and README's own loss."""
    demo = found["demo_seconds"]
    (loss,) = (row["seconds"] for row in found["blocks"] if row["page"] == "README.md" and OWN_LOSS in row["block"])
    rows = [
        ["`make demo`: installation", _minutes(demo["installation"])],
        ["`make demo`: rendering, compilation, the run and its report", _minutes(demo["run"])],
        ["`make demo`: all", _minutes(demo["total"])],
        ["a run with a loss of one's own, from the README", _minutes(loss)],
        ["all commands of README and tutorial", _minutes(sum(row["seconds"] for row in found["blocks"]))],
    ]
    return (
        f"{markdown(['from a fresh clone', 'minutes'], rows)}\n\n"
        f"Peak memory of a process: {found['peak_bytes'] / 1e9:.2f} GB. {where(found)}."
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _usual(row: dict) -> str:
    return " (what a run takes here)" if row["settings"]["usual"] else ""


def _network(s: dict) -> str:
    stages = "-".join(map(str, s["stages"])) or "-".join(map(str, s["widths"]))
    return f"{s['network']} {stages}, {s['pixels']} pixels, {s['classes']} classes, batch {s['batch']}"


def steps(found: dict) -> Table:
    """A training step in its three forms."""
    rows = of(found, "step")
    header = ["step", "images/s, median [slowest, fastest]", "times published [95 %]",
              "G multiply-adds an image, formula / XLA", "of matmul peak", "compiled in",
              "memory beside its arrays"]  # fmt: skip
    table = [
        [r["settings"]["kind"], rate(r), times(r["times_published"]), _work(r, r["settings"]["images"]), _share(r),
         f"{r['compile_seconds']:.0f} s", _gigabytes(r["temporary_bytes"])]
        for r in rows
    ]  # fmt: skip
    (peak,) = of(found, "matmul peak")
    said = (
        f"{_network(rows[0]['settings'])}, trained from {rows[0]['settings']['cut']}. The peak is "
        f"{peak['per_second'] / 1e9:.0f} G multiply-adds a second in {peak['dtype']}; shares are the fastest round's."
    )
    return header, table, said


def inference(found: dict) -> Table:
    """Evaluation, Grad-CAM, memory selection and input."""
    header = ["what", "images/s, median [slowest, fastest]", "of the matmul peak"]
    names = {
        "evaluation": lambda s: f"evaluation from {'the cache' if s['from'] == 'cache' else s['from']}",
        "selection": lambda s: f"memory selection, {s['increments']} increments, {s['training_images']} images",
        "grad-cam": lambda s: f"Grad-CAM at {s['layer']}",
        "input": lambda s: {
            "decode": "decode a JPEG of 562 × 762", "cut to size": f"cut and scale it to {s['pixels']} pixels",
            "stream": f"batches of {s.get('batch')} from an array on the host to the device, {s['pixels']} pixels",
            "augment": f"augment batches of {s['images']} at {s['pixels']} pixels",
        }[s["what"]],
    }  # fmt: skip
    table = [[say(r["settings"]), rate(r), _share(r)] for name, say in names.items() for r in of(found, name)]
    said = []
    for row in of(found, "evaluation"):
        if row["settings"]["from"] == "cache":
            said.append(f"Evaluation from the cache is {times(row['times_pixels'])} as fast as from pixels.")
    for row in of(found, "selection"):
        s = row["settings"]
        said.append(
            f"In all {s['increments']} increments, selection ran the trunk on {row['trunk_passes']} images, "
            f"{row['trunk_passes_an_image']:.3f} passes for each of {s['all_images']}; what is above 1 fills the last "
            "batch. The rate is measured with the trunk's output cached."
        )
    return header, table, " ".join(said)


def epochs(found: dict) -> Table:
    """An epoch in its forms."""
    rows = of(found, "epoch")
    header = ["epoch", "images/s, median [slowest, fastest]", "speed against the fastest [95 %]", "compiled in"]
    table = [
        [r["settings"]["form"] + _usual(r), rate(r),
         times(r["times_fastest"]), f"{r['compile_seconds']:.0f} s"]
        for r in rows
    ]  # fmt: skip
    return header, table, f"{_network(rows[0]['settings'])}, {rows[0]['settings']['steps']} steps an epoch."


def runs(found: dict) -> Table:
    """Class orders side by side."""
    header = ["runs", "how", "images/s of all, median [slowest, fastest]", "times one by one [95 %]"]
    table = [
        [str(r["settings"]["runs"]), r["settings"]["by"] + _usual(r),
         rate(r), times(r["times_one_by_one"])]
        for r in of(found, "runs")
    ]  # fmt: skip
    return header, table, f"{_network(of(found, 'runs')[0]['settings'])}; an epoch of each, validation included."


def devices(found: dict) -> Table:
    """One batch over several devices."""
    rows = of(found, "devices")
    n_epochs = len(rows[0]["differences_in_loss"])
    header = ["devices", "images/s, median [slowest, fastest]", "same batches", "difference in loss, epoch 1",
              f"largest in {n_epochs} epochs", "largest from weights one rounding away", "same answers"]  # fmt: skip
    table = [
        [str(r["settings"]["devices"]), rate(r), "yes" if r["same_batches"] else "no",
         f"{r['differences_in_loss'][0]:.0e}", f"{max(r['differences_in_loss']):.0e}",
         f"{max(r['differences_by_rounding']):.0e}",
         "yes" if r["same_answers"] else "no"]
        for r in rows
    ]  # fmt: skip
    said = "Virtual devices share the cores: they show what is equal, not what is fast."
    return header, table, said if rows[0]["settings"]["virtual"] else ""


def side_by_side(found: dict) -> Table:
    """The continual phase of several class orders, in both ways."""
    s, share, seconds = found["settings"], found["time_share"], found["seconds"]
    header = [f"continual phase of {s['orders']} class orders", "seconds, median [least, most]",
              "share of the time [95 %]", "greatest difference of accuracies"]  # fmt: skip
    table = [
        [way.replace("_", " "),
         "{median:.0f} [{min:.0f}, {max:.0f}] (n = {n})".format(**seconds[way]),
         "–" if way == "one_by_one" else f"{share['mean']:.2f} [{share['low']:.2f}, {share['high']:.2f}]",
         "–" if way == "one_by_one" else f"{found['greatest_difference']:g}"]
        for way in ("one_by_one", "side_by_side")
    ]  # fmt: skip
    return header, table, f"The quickstart's phase, {s['max_epochs']} epochs an increment, checkpoints included."


def growth(found: dict) -> Table:
    """How cost grows: exponents of fitted powers and between neighbouring sizes."""
    header = ["cost against", "from … to", "a step", "an epoch", "all of memory selection"]
    table = [
        [r["settings"]["over"], f"{r['settings']['values'][0]:g} … {r['settings']['values'][-1]:g}",
         *(f"{r[w]['exponent']:.2f} (steepest {r[w]['steepest']:.2f})" for w in ("step", "epoch", "selection"))]
        for r in of(found, "growth")
    ]  # fmt: skip
    said = "An exponent of 1 is linear, 0 is no cost; the steepest is the largest between two neighbouring sizes."
    return header, table, said


def peer(found: dict) -> Table:
    """Ours and Keras', by turns."""
    header = ["", "images/s, median [slowest, fastest]", "times Keras [95 %]"]
    names = {"keras": "Keras", "published": "ours as published", "exact": "ours, one trunk", "cached": "ours, cached",
             "pixels": "ours from pixels", "cache": "ours from the cache"}  # fmt: skip
    table = [
        [f"{part}: {said}", rate(found[part][name]), times(found[part][name]["times_keras"])]
        for part in ("step", "evaluation")
        for name, said in names.items()
        if name in found[part]
    ]
    s, p, peaks = found["settings"], found["peer"], found["matmul_peak"]
    said = (
        f"{s['network']}, {s['pixels']} pixels, batch {s['batch']}; Keras {p['keras']}, TensorFlow {p['tensorflow']}; "
        f"matmul peaks {peaks['ours'] / 1e9:.0f} and {peaks['keras'] / 1e9:.0f} G multiply-adds a second."
    )
    return header, table, said


def layers(found: dict) -> Table:
    """What types of layers cost beside their multiply-adds, and two of them in both ways."""
    header = ["layer", "calls", "of the multiply-adds", "forward", "with gradient", "of the time", "of the matrix peak"]
    table = []
    for one in found["networks"]:
        kinds = sorted(one["kinds"].items(), key=lambda row: -row[1]["gradient"])
        work, took = (sum(row[what] for _, row in kinds) for what in ("multiply_adds", "gradient"))
        network = one["network"]
        for kind, row in kinds:
            share = 3 * row["multiply_adds"] / row["gradient"] / found["peak_per_second"]
            table.append([
                f"{network}: {kind}", f"{row['calls']}", f"{100 * row['multiply_adds'] / work:.0f} %",
                _milliseconds(row["forward"]), _milliseconds(row["gradient"]), f"{100 * row['gradient'] / took:.0f} %",
                f"{100 * share:.0f} %" if row["multiply_adds"] else "–",
            ])  # fmt: skip
        whole = one["whole"]
        share = 3 * work / whole["gradient"] / found["peak_per_second"]
        table.append([f"{network}: all, as one program", "1", "100 %", _milliseconds(whole["forward"]),
                      _milliseconds(whole["gradient"]), "–", f"{100 * share:.0f} %"])  # fmt: skip
    for row in found["ways"]:
        table.append([f"{row['kind']}, {row['way']}", "1", "–", _milliseconds(row["forward"]),
                      _milliseconds(row["gradient"]), "–", "–"])  # fmt: skip
    sizes = " and ".join(f"{one['network']} at {one['pixels']} pixels" for one in found["networks"])
    said = (
        f"{sizes}, batches of {found['networks'][0]['batch']}; processor time over all threads. The matrix peak is "
        f"{found['peak_per_second'] / 1e9:.0f} G multiply-adds a processor second."
    )
    return header, table, said


def _milliseconds(seconds: float) -> str:
    return f"{_three(1000 * seconds)} ms"


def profile(found: dict) -> Table:
    """The share of wall time in which compiled code is at work."""
    s, seconds = found["settings"], found["seconds"]
    header = ["continual phase", "seconds", "compiled code at work"]
    table = [
        [f"{s['increments']} increments of {s['epochs']} epochs, under the profiler", f"{seconds['traced']:.1f}",
         f"{100 * found['compiled_share']:.1f} %"],
        ["the same without the profiler", f"{seconds['plain']:.1f}", "–"],
        ["the first time, compiling", f"{seconds['compiling']:.1f}", "–"],
    ]  # fmt: skip
    compiled = found["compile_seconds"]
    said = (
        f"XLA compiles for {compiled[0]:.1f} s in the first increment and for {sum(compiled[1:]):.1f} s in the "
        f"{len(compiled) - 1} others."
    )
    return header, table, said


def accelerator(found: dict) -> Table:
    """What `make accelerator-check` measured, but for the curves."""
    told = ("kind", "from", "what", "form", "runs", "by")
    table = [
        [f"{r['name']}: {' '.join(str(r['settings'][key]) for key in told if key in r['settings'])}".removesuffix(": "),
         f"{r['settings']['pixels']}", rate(r)]
        for r in found.get("bench", found)["measurements"]
        if "images_per_second" in r and r["name"] not in ("scaling", "rehearsal")
    ]  # fmt: skip
    e = found["environment"]
    said = f"{e['device']['count']} × {e['device']['kind']}, Python {e['python']}, jax {e['packages']['jax']}."
    return ["what", "pixels", "images/s, median [slowest, fastest]"], table, said


BENCH = (steps, inference, epochs, runs, devices, growth)
