"""A model of `fer-jax export --format safetensors`: this file, model.safetensors and model.json are all it takes.

Needs jax, numpy and safetensors, nothing else; `fer-jax export` copies it beside the weights as model.py.

    import model
    settings, params = model.load("FOLDER")
    p = model.probabilities(settings, params, faces)    # faces f32[B, S, S, 3] in [0, 1], RGB; p f32[B, K]
    settings["classes"]                                 # K names
"""

import json
import pathlib

import jax
import jax.numpy as jnp


def load(folder):
    """The settings of a model (a dict), and its parameters by name, such as `backbone/conv1_conv/kernel`."""
    from safetensors.numpy import load_file

    folder = pathlib.Path(folder)
    return json.loads((folder / "model.json").read_text()), load_file(folder / "model.safetensors")


def probabilities(settings, params, images):
    """Calibrated probabilities f32[B, K] of faces f32[B, S, S, 3] in [0, 1]."""
    factor, offset = settings["input_factor"], settings["input_offset"]
    x = BACKBONES[settings["backbone"]](settings, params, jnp.asarray(images) * factor + offset)
    for i in range(settings["hidden_layers"]):
        x = jax.nn.sigmoid(_dense(params, f"head/hidden{i}", x))
    return jax.nn.softmax(_dense(params, "head/logits", x) / settings["temperature"])


def _resnet_v2(settings, params, x):
    """ResNetV2 as Keras Applications has it, pooled by the maximum."""

    def norm(name, x):
        return jax.nn.relu(_norm(params, f"backbone/{name}", x, settings["epsilon"]))

    def conv(name, x, stride=1):
        kernel = params[f"backbone/{name}/kernel"]
        pad = (kernel.shape[0] - 1) // 2
        return _conv(params, f"backbone/{name}", x, stride, ((pad, pad), (pad, pad)))

    x = conv("conv1_conv", x, 2)
    if settings["stem_pool"]:
        x = jax.lax.reduce_window(_pad(x), -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    depths = settings["depths"]
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name = f"conv{stage + 2}_block{block + 1}"
            # The stride sits in the last block of every stage but the last.
            stride = 2 if block == depth - 1 and stage < len(depths) - 1 else 1
            active = norm(f"{name}_preact_bn", x)
            shortcut = conv(f"{name}_0_conv", active, stride) if block == 0 else x[:, ::stride, ::stride]
            y = norm(f"{name}_1_bn", conv(f"{name}_1_conv", active))
            y = norm(f"{name}_2_bn", conv(f"{name}_2_conv", y, stride))
            x = shortcut + conv(f"{name}_3_conv", y)
    return norm("post_bn", x).max((1, 2))


def _efficientnet_lite(settings, params, x):
    """EfficientNet-Lite, pooled by the mean."""

    def norm(name, x):
        return _norm(params, f"backbone/{name}", x, settings["epsilon"])

    def conv(name, x, stride=1, groups=1):
        return _conv(params, f"backbone/{name}", x, stride, "SAME", groups)

    x = jax.nn.relu6(norm("stem_bn", conv("stem_conv", x, 2)))
    for stage, depth in enumerate(settings["depths"]):
        for block in range(depth):
            name, y = f"stage{stage + 1}_block{block + 1}", x
            stride = settings["strides"][stage] if block == 0 else 1
            if settings["expansions"][stage] > 1:
                y = jax.nn.relu6(norm(f"{name}_expand_bn", conv(f"{name}_expand_conv", y)))
            y = conv(f"{name}_depthwise_conv", y, stride, y.shape[-1])
            y = jax.nn.relu6(norm(f"{name}_depthwise_bn", y))
            y = norm(f"{name}_project_bn", conv(f"{name}_project_conv", y))
            x = x + y if y.shape == x.shape and stride == 1 else y
    return jax.nn.relu6(norm("top_bn", conv("top_conv", x))).mean((1, 2))


def _mlp(settings, params, x):
    """Grey values through dense ReLU layers."""
    x = x.mean(-1).reshape(x.shape[0], -1)
    for i in range(settings["layers"]):
        x = jax.nn.relu(_dense(params, f"backbone/dense{i}", x))
    return x


def _convnet(settings, params, x):
    """3×3 convolutions with ReLU and 2×2 max pools, then the mean."""
    for i in range(settings["layers"]):
        x = jax.nn.relu(_conv(params, f"backbone/conv{i}", x, 1, ((1, 1), (1, 1))))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.mean((1, 2))


BACKBONES = {"resnet_v2": _resnet_v2, "efficientnet_lite0": _efficientnet_lite, "mlp": _mlp, "convnet": _convnet}


def _conv(params, name, x, stride, padding, groups=1):
    x = jax.lax.conv_general_dilated(
        x, params[f"{name}/kernel"], (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip
    return x + params[f"{name}/bias"] if f"{name}/bias" in params else x


def _norm(params, name, x, epsilon):
    scale, bias, mean, var = (params[f"{name}/{leaf}"] for leaf in ("scale", "bias", "mean", "var"))
    return (x - mean) * (scale / jnp.sqrt(var + epsilon)) + bias


def _dense(params, name, x):
    return x @ params[f"{name}/kernel"] + params[f"{name}/bias"]


def _pad(x):
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
