"""What does each type of layer of EfficientNet-Lite0 and of a vision transformer cost beside its multiply-adds?

Command: python -m studies.layers --out docs/results/layers.json     (make layers)
Result:  docs/results/layers.json
Time:    two minutes on two cores

Every layer that a forward pass of the networks of configs/efficientnet.py and configs/vit.py calls is compiled by
itself, at the shapes that it has there: forward alone, and forward with the gradient by its input and its parameters,
which is what a step takes where all is trained. Layers of one type are added up. Beside them stands the network as one
program. Times are processor time over all threads, the least of some rounds, so that other work on the machine counts
little. Multiply-adds are counted by formula; those of a gradient are twice those forward.

Two layers can be computed in another way that gives the same: both ways are measured at one shape, and compared.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fer_jax import config as configs
from fer_jax.bench.measurements import CONFIGS
from fer_jax.config.file import read_config
from fer_jax.models import backbones
from fer_jax.models.backbone import Backbone
from fer_jax.models.layers import FrozenBatchNorm, depthwise_conv
from fer_jax.models.vit import LayerScale, Tokens, attention
from fer_jax.runs.progress import log, start_logging
from studies import record

NETWORKS = ("efficientnet", "vit")
BATCH = 16
LEAST_SECONDS = 0.05  # processor time of a round


class Layer(NamedTuple):
    """A layer at its shape: of (parameters, input), with parameters made of an input, and its multiply-adds."""

    kind: str
    function: Callable[[Any, jax.Array], jax.Array]
    params: Callable[[jax.Array], Any]
    shape: tuple[int, ...]
    multiply_adds: int = 0


def layers(backbone: Backbone, size: int, batch: int = BATCH) -> dict[tuple, tuple[Layer, int]]:
    """Lists the layers that a forward pass calls, each with how often, by what makes layers the same."""
    found: dict[tuple, tuple[Layer, int]] = {}

    def add(layer: Layer, *what) -> None:
        key = layer.kind, layer.shape, *what
        found[key] = layer, found.get(key, (layer, 0))[1] + 1

    def note(call, arguments, keywords, context):
        out, module = call(*arguments, **keywords), context.module
        if context.method_name == "__call__" and isinstance(module, nn.Module) and not isinstance(module, Backbone):
            layer = _of_module(module, arguments[0].shape, out.shape)
            add(layer, *_fields(module))
            name = module.name or ""
            if name.endswith("_qkv"):
                add(_attention(out.shape, backbone.heads))
            elif name.endswith("_in"):
                add(Layer("GELU", lambda _, x: nn.gelu(x, approximate=False), lambda _: {}, out.shape))
        return out

    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(lambda x: backbone.init(jax.random.key(0), x), images)
    return found


def _fields(module: nn.Module) -> tuple:
    """What makes two modules of one input shape the same layer."""
    names = ("features", "kernel_size", "strides", "feature_group_count", "use_bias")
    return type(module).__name__, *(str(getattr(module, name, "")) for name in names)


def _of_module(module: nn.Module, shape: tuple[int, ...], out: tuple[int, ...]) -> Layer:
    free = module.clone(parent=None, name=None)
    kinds = {nn.LayerNorm: "layer norm", FrozenBatchNorm: "batch-norm, ReLU6", Tokens: "class token and positions",
             LayerScale: "layer scale"}  # fmt: skip
    work = 0
    if isinstance(module, nn.Conv):
        side, groups = module.kernel_size[0], module.feature_group_count
        kind = f"{'depthwise' if groups > 1 else 'convolution'} {side}×{side}"
        work = math.prod(out) * shape[-1] // groups * side * side
    elif isinstance(module, nn.Dense):
        kind, work = "dense", math.prod(out) * shape[-1]
    else:
        kind = next(kind for of, kind in kinds.items() if isinstance(module, of))

    def function(params, x):
        y = free.apply({"params": params}, x)
        return nn.relu6(y) if isinstance(module, FrozenBatchNorm) else y

    return Layer(kind, function, lambda x: free.init(jax.random.key(0), x)["params"], shape, work)


def _attention(shape: tuple[int, ...], heads: int) -> Layer:
    batch, tokens, width = shape
    work = 2 * batch * tokens * tokens * width // 3
    return Layer("attention", lambda _, x: attention(x, heads), lambda _: {}, shape, work)


def attention_in_place(qkv: jax.Array, heads: int) -> jax.Array:
    """Computes `vit.attention` with the heads where they are, behind the tokens."""
    batch, tokens, width = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(batch, tokens, 3, heads, -1), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32) / math.sqrt(q.shape[-1])
    mixed = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores).astype(v.dtype), v)
    return mixed.reshape(batch, tokens, width // 3)


def processor_seconds(function: Callable[..., Any], *arguments: Any, rounds: int = 5) -> float:
    """Returns the least processor time of a call of a compiled function, over rounds of as many calls as they need."""
    run = jax.jit(function)
    jax.block_until_ready(run(*arguments))

    def of(calls: int) -> float:
        began = time.process_time()
        for _ in range(calls):
            found = run(*arguments)
        jax.block_until_ready(found)
        return (time.process_time() - began) / calls

    first = of(1)
    calls = max(1, math.ceil(LEAST_SECONDS / max(first, 1e-5)))
    return min(of(calls) for _ in range(rounds))


def both(function: Callable[[Any, jax.Array], jax.Array], params: Any, x: jax.Array) -> dict[str, float]:
    """Measures a function of parameters and input: forward, and forward with the gradient by both.

    The value is returned too. Where the gradient does without it, XLA would leave out the forward pass.
    """
    out = jax.eval_shape(function, params, x)
    weights = jax.random.normal(jax.random.key(2), out.shape, out.dtype)

    def gradient(params, x):
        return jax.value_and_grad(lambda params, x: jnp.sum(function(params, x) * weights), (0, 1))(params, x)

    return {"forward": processor_seconds(function, params, x), "gradient": processor_seconds(gradient, params, x)}


def _measured(layer: Layer) -> dict[str, float]:
    x = jax.random.normal(jax.random.key(1), layer.shape)
    return both(layer.function, layer.params(x), x)


def network(name: str) -> dict[str, Any]:
    """Measures a config's backbone: its layers by type, and all of it as one program."""
    config = configs.resolve(read_config([f"--config={CONFIGS / f'{name}.py'}"]))
    backbone, size = backbones.build(config.model), config.data.image_size
    kinds: dict[str, dict[str, float]] = {}
    for layer, calls in layers(backbone, size).values():
        row = kinds.setdefault(layer.kind, {"calls": 0, "multiply_adds": 0, "forward": 0.0, "gradient": 0.0})
        seconds = _measured(layer)
        row["calls"] += calls
        row["multiply_adds"] += calls * layer.multiply_adds
        for what in ("forward", "gradient"):
            row[what] += calls * seconds[what]
        log.info("layers: %s %s: %s, %d times", name, layer.kind, layer.shape, calls)
    x = jax.random.normal(jax.random.key(1), (BATCH, size, size, 3))
    params = backbone.init(jax.random.key(0), x)["params"]
    whole = both(lambda params, x: backbone.apply({"params": params}, x), params, x)
    return {"network": config.model.name, "pixels": size, "batch": BATCH, "kinds": kinds, "whole": whole}


def ways() -> list[dict[str, Any]]:
    """Measures two layers in both ways that they can be computed."""
    qkv, heads = (BATCH, 65, 3 * 384), 6
    x, maps = jax.random.normal(jax.random.key(1), qkv), jax.random.normal(jax.random.key(1), (BATCH, 8, 8, 240))
    by = {form: depthwise_conv("depthwise", 240, 5, form=form) for form in ("product", "library")}
    params = by["product"].init(jax.random.key(0), maps)
    found = [
        ("attention", "heads first", functools.partial(_without, attention, heads), {}, x),
        ("attention", "heads behind the tokens", functools.partial(_without, attention_in_place, heads), {}, x),
        ("depthwise 5×5", "sum of shifted inputs", by["product"].apply, params, maps),
        ("depthwise 5×5", "the library's", by["library"].apply, params, maps),
    ]
    return [
        {"kind": kind, "way": way, "shape": list(of.shape), **both(function, parameters, of)}
        for kind, way, function, parameters, of in found
    ]


def _without(function: Callable, heads: int, params: Any, x: jax.Array) -> jax.Array:
    return function(x, heads)


def peak() -> float:
    """Returns the multiply-adds a processor second of a float32 product of 2048 × 2048."""
    a = jax.random.normal(jax.random.key(0), (2048, 2048))
    return 2048**3 / processor_seconds(jnp.matmul, a, a)


def main() -> None:
    """Measures both networks and writes the JSON."""
    options = record.command(__doc__).parse_args()
    start_logging()
    load = record.load()
    found = {"peak_per_second": peak(), "networks": [network(name) for name in NETWORKS], "ways": ways()}
    record.write(options.out, {**found, "environment": record.environment("float32", load)})


if __name__ == "__main__":
    main()
