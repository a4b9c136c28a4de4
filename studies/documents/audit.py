"""Tables that an audit asked for: figures before and after its corrections, and what the tests notice."""

from fer_jax.runs.names import METRIC_NAMES, method_name, percent
from studies.documents.markdown import markdown
from studies.documents.results import TRANSFER_COLUMNS
from studies.mutation import explain

PAIRED = ("before", "after", "difference")


def intervals(found: dict) -> str:
    """Returns the same figures with intervals over orders of one base model, then and now, and over base models."""

    def orders(over: dict) -> str:
        mean, low, high = (100 * over[name] for name in ("mean", "low", "high"))
        return f"{mean:.1f} [{low:.1f}, {high:.1f}] (n = {over['n']} orders)"

    rows = [
        [f"{method_name(row['method'])}, {METRIC_NAMES[row['measure']]}", orders(row["before"]),
         *([orders(row["one"])] if "one" in row else []), percent(row["after"])]
        for row in found["intervals"]
    ]  # fmt: skip
    ours = ["orders of one of today's base models"] if "one" in found["intervals"][0] else []
    return markdown(["%, mean [95 % interval]", "before: orders of one base model", *ours, "after: base models"], rows)


def baselines(found: dict) -> str:
    """Returns corrected methods by the first version's code and by ours, with the paired difference."""
    rows = [
        [f"{method_name(row['method'])}, {row['stream']}, {METRIC_NAMES[row['measure']]}", *_of(row)]
        for row in found["baselines"]
    ]
    return markdown(["%, mean [95 % interval]", *PAIRED], rows)


def transfer(found: dict) -> str:
    """Returns accuracy from ImageNet's weights and from random ones by the first version's study and by ours."""
    rows = [[TRANSFER_COLUMNS[row["start"]], *_of(row)] for row in found["transfer"]]
    return markdown(["%, mean [95 % interval]", *PAIRED], rows)


def few_shot(found: dict) -> str:
    """Returns the few-shot phase's harmonic mean with an oracle's epoch and with a fixed one."""
    rows = [[str(row["shots"]), *_of(row)] for row in found["few_shot"]]
    return markdown(["images of the new class", "before: the oracle's epoch", "after: a fixed one", "difference"], rows)


def mutation(found: dict) -> str:
    """Returns how many small changes of each module the tests notice."""
    modules = {name: explain(name, one) for name, one in found["modules"].items()}
    rows = [[name, *_noticed([one])] for name, one in modules.items()]
    header = ["module of `fer_jax`", "changes tried", "noticed", "changed nothing"]
    return markdown(header, [*rows, ["all", *_noticed(list(modules.values()))]])


def _noticed(modules: list[dict]) -> list[str]:
    tried, killed, unexplained = (sum(one[name] for one in modules) for name in ("mutants", "killed", "unexplained"))
    return [str(tried), f"{killed} ({100 * killed / tried:.1f} %)", str(tried - killed - unexplained)]


def _of(row: dict) -> list[str]:
    return [percent(row[name]) for name in PAIRED]


# Each is a key of docs/results/before_after.json.
PARTS = (intervals, baselines, transfer, few_shot)
