"""Avalanche's methods on a stream of classes, in a process of its own that answers on a pipe.

    python studies/materials/avalanche_stream.py --arrays ARRAYS.npz

The file holds `x_train` f32[N, D], `y_train` i64[N], `x_test` and `y_test`. A line of stdin is a JSON object: method,
seed, `tasks` (lists of classes), epochs, batch, learning_rate, widths and `exemplars` of each class. The answer is a
line of JSON: seconds, and the accuracy on each task's test images after each task that was trained. A request
`{"peak": true}` is answered with the process's peak memory in bytes. Avalanche and PyTorch are imported here and
nowhere else; nothing of fer_jax is.
"""

import argparse
import contextlib
import itertools
import json
import random
import resource
import sys
import time
import warnings

import numpy as np
import torch
from torch.optim import lr_scheduler

# The torchvision of package registries links CUDA. Beside a PyTorch for CPUs its operators are not declared, and its
# import fails on the first one that it wants to extend; none is called here.
with contextlib.suppress(RuntimeError):  # where they are declared
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for NAME in ("nms", "qnms"):
        OPERATORS.define(f"{NAME}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class MultiStepLR(lr_scheduler.MultiStepLR):
    """Avalanche's BiC passes `verbose`, which PyTorch has dropped."""

    def __init__(self, *arguments, verbose=False, **options):
        super().__init__(*arguments, **options)


lr_scheduler.MultiStepLR = MultiStepLR
# The faster setting for matrices this small; threads that wait for each other take ten times as long on a busy machine.
torch.set_num_threads(1)
warnings.filterwarnings("ignore")

import avalanche  # noqa: E402
from avalanche import training  # noqa: E402
from avalanche.benchmarks import nc_benchmark  # noqa: E402
from avalanche.benchmarks.utils import _make_taskaware_tensor_classification_dataset as classification_dataset  # noqa: E402
from avalanche.evaluation.metrics import accuracy_metrics  # noqa: E402
from avalanche.training.plugins import BiCPlugin, EvaluationPlugin, ReplayPlugin  # noqa: E402
from avalanche.training.plugins.gdumb import GDumbPlugin  # noqa: E402
from avalanche.training.storage_policy import ClassBalancedBuffer  # noqa: E402
from avalanche.training.supervised.der import ClassBalancedBufferWithLogits  # noqa: E402

# The terms that both sides weigh alike are weighed as in `fer_jax.methods`; everything else has the library's defaults.
LWF = {"alpha": 1.0, "temperature": 2.0}
EWC = {"ewc_lambda": 1000.0}
DERPP = {"alpha": 0.5, "beta": 1.0}
SHOWN_AT_ONCE = 512


def network(inputs: int, widths: list[int], classes: int) -> torch.nn.Sequential:
    """Features, dense ReLU layers of `widths`, and a head over all classes."""
    sizes = [inputs, *widths]
    layers = [
        layer
        for before, after in itertools.pairwise(sizes)
        for layer in (torch.nn.Linear(before, after), torch.nn.ReLU())
    ]
    return torch.nn.Sequential(torch.nn.Sequential(*layers), torch.nn.Linear(widths[-1], classes))


def strategy(asked: dict, inputs: int, classes: int):
    """The method that is asked for, on a fresh network.

    Every memory has room for `exemplars` images of each class, from the first task on.
    """
    name, exemplars = asked["method"], asked["exemplars"]
    model = network(inputs, asked["widths"], classes)
    room = {"max_size": exemplars * classes, "adaptive_size": False, "total_num_classes": classes}
    size = room["max_size"]
    usual = {
        "train_mb_size": asked["batch"], "train_epochs": asked["epochs"], "eval_mb_size": SHOWN_AT_ONCE,
        "evaluator": EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    }  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=asked["learning_rate"])
    trained = {"model": model, "optimizer": optimizer, **usual}
    learned = {**trained, "criterion": torch.nn.CrossEntropyLoss()}
    if name == "icarl":
        parts = {"feature_extractor": model[0], "classifier": model[1], "optimizer": optimizer}
        memory = {"memory_size": exemplars, "fixed_memory": False, "buffer_transform": None}
        return training.ICaRL(**parts, **memory, **usual)
    if name == "derpp":
        made = training.DER(mem_size=size, batch_size_mem=asked["batch"], **DERPP, **learned)
        made.storage_policy = ClassBalancedBufferWithLogits(**room)
        return made
    if name == "er_ace":
        made = training.ER_ACE(mem_size=size, batch_size_mem=asked["batch"], **trained)
        made.storage_policy = ClassBalancedBuffer(**room)
        return made
    if name == "gdumb":
        plugin = GDumbPlugin(mem_size=size)
        plugin.storage_policy = ClassBalancedBuffer(**room)
        return training.Naive(plugins=[plugin], **learned)
    if name in ("er", "bic"):
        plugin = {"er": ReplayPlugin, "bic": BiCPlugin}[name]
        return training.Naive(plugins=[plugin(mem_size=size, storage_policy=ClassBalancedBuffer(**room))], **learned)
    plain = {"finetune": training.Naive, "joint": training.JointTraining, "slda": training.Naive}
    weighed = {"lwf": (training.LwF, LWF), "ewc": (training.EWC, EWC)}
    made, weights = weighed[name] if name in weighed else (plain[name], {})
    return made(**weights, **learned)


def discriminants(based, asked: dict, classes: int):
    """Streaming LDA of the features of a network that has learned the first task."""
    return training.StreamingLDA(
        slda_model=based.model[0], criterion=torch.nn.CrossEntropyLoss(), input_size=asked["widths"][-1],
        num_classes=classes, train_mb_size=asked["batch"], eval_mb_size=SHOWN_AT_ONCE,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    )  # fmt: skip


def stream(arrays: dict[str, np.ndarray], tasks: list[list[int]]):
    """The arrays as a benchmark whose experiences are the tasks, in their order."""
    train, test = (
        classification_dataset(torch.tensor(arrays[f"x_{part}"]), torch.tensor(arrays[f"y_{part}"]), task_labels=0)
        for part in ("train", "test")
    )
    return nc_benchmark(
        train, test, n_experiences=len(tasks), task_labels=False, shuffle=False,
        fixed_class_order=[c for task in tasks for c in task], per_exp_classes=dict(enumerate(map(len, tasks))),
    )  # fmt: skip


def accuracies(made, benchmark) -> list[float]:
    """The accuracy on each task's test images, by Avalanche's own evaluation."""
    found = made.eval(benchmark.test_stream)
    by_task = {int(name[-3:]): value for name, value in found.items() if name.startswith("Top1_Acc_Exp/")}
    return [by_task[task] for task in range(len(benchmark.test_stream))]


def run(asked: dict, arrays: dict[str, np.ndarray]) -> dict:
    """Learns the stream from nothing by one method; whatever is drawn comes from the seed."""
    began = time.perf_counter()
    for draw in (random.seed, np.random.seed, torch.manual_seed):
        draw(asked["seed"])
    benchmark = stream(arrays, asked["tasks"])
    classes = sum(map(len, asked["tasks"]))
    made = strategy(asked, arrays["x_train"].shape[1], classes)
    if asked["method"] == "joint":
        made.train(benchmark.train_stream)
        rows = [accuracies(made, benchmark)]
    else:
        if asked["method"] == "slda":
            made.train(benchmark.train_stream[0])
            made = discriminants(made, asked, classes)
        rows = []
        for experience in benchmark.train_stream:
            made.train(experience)
            rows.append(accuracies(made, benchmark))
    return {"accuracies": rows, "seconds": time.perf_counter() - began}


def peak() -> int:
    """The most memory that the process has held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Tells the versions, then answers until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", required=True)
    with np.load(parser.parse_args().arrays) as file:
        arrays = dict(file)
    # What Avalanche prints must not get between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    told = {"avalanche": avalanche.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(told), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = peak() if asked.get("peak") else run(asked, arrays)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
