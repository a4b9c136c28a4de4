"""The network around a cut, and one continual step against the published code's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fer_jax import losses, objectives
from fer_jax.models.head import ExpressionHead
from fer_jax.models.network import Network, merge
from fer_jax.models.resnet_v2 import ResNetV2
from fer_jax.training.step import Recipe
from tests.support import model_size


def test_trainable_parameters_are_the_published_ones(resnet50v2):
    backbone, head = resnet50v2
    network = Network(ResNetV2(), ExpressionHead(n_classes=6))
    params = {"backbone": backbone, "head": head}
    assert model_size.parameter_count(network.split(params, "head")[0]) == 1_065_702
    assert model_size.parameter_count(network.split(params, "conv4_block1")[0]) == 23_101_158
    seven = {"kernel": np.zeros((32, 7)), "bias": np.zeros(7)}
    params = {"backbone": backbone, "head": {**head, "logits": seven}}
    assert model_size.parameter_count(network.split(params, "conv5_block1")[0]) == 16_016_135


def test_split_and_merge_lose_nothing():
    network = Network(ResNetV2((1, 1, 1, 1), (4, 4, 4, 4), 4, 5), ExpressionHead((8,), 5))
    params = network.init(jax.random.key(0), 32)
    for cut in (*network.backbone.cuts, "head"):
        trainable, frozen = network.split(params, cut)
        assert jax.tree.structure(merge(trainable, frozen)) == jax.tree.structure(params)
        assert not any("bn" in layer for layer in trainable["backbone"])
    trainable, frozen = network.split(params, "input")
    assert all("bn" in layer for layer in frozen["backbone"])


def test_a_mirrored_network_gives_an_image_and_its_mirror_image_the_same_features():
    plain = Network(ResNetV2((1, 1, 1, 1), (4, 4, 4, 4), 4, 5), ExpressionHead((8,), 5))
    mirrored = dataclasses.replace(plain, mirrored=True)
    params, images = plain.init(jax.random.key(0), 32), jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    sides = [plain.trunk(params, side, "head") for side in (images, images[:, :, ::-1])]
    assert not np.allclose(*sides, atol=1e-3)
    np.testing.assert_allclose(mirrored.trunk(params, images, "head"), (sides[0] + sides[1]) / 2, atol=1e-6)
    inner = plain.backbone.cuts[1]
    np.testing.assert_array_equal(mirrored.trunk(params, images, inner), plain.trunk(params, images, inner))


def test_input_ranges():
    backbone, head = ResNetV2((1, 1, 1, 1), (4, 4, 4, 4)), ExpressionHead()
    x = np.asarray([0.0, 0.5, 1.0], np.float32)
    np.testing.assert_array_equal(Network(backbone, head).scale_input(x), x)
    np.testing.assert_array_equal(Network(backbone, head, "minus_one_one").scale_input(x), [-1, 0, 1])
    pixels = x * np.float32(255)
    np.testing.assert_allclose(Network(backbone, head, "around_127").scale_input(x), (pixels - 127) / 128, atol=1e-6)
    with pytest.raises(ValueError, match="'caffe'; it may be one of zero_one, minus_one_one, around_127"):
        Network(backbone, head, "caffe")


def test_a_continual_step_equals_the_published_codes(reference, recipe, resnet50v2):
    r, (x, _) = reference("d_contstep"), recipe.inputs()
    backbone, head = resnet50v2
    # Ours has room for more classes than the seven that are known, and the loss must not notice.
    room, cut = 9, "conv5_block1"
    network = Network(ResNetV2(), ExpressionHead(n_classes=room, dropout=0.0))
    kernel = np.zeros((32, room), np.float32)
    kernel[:, :6], kernel[:, 6] = head["logits"]["kernel"], r["new_kernel_last_col"]
    bias = np.zeros(room, np.float32)
    bias[:6] = head["logits"]["bias"]
    params = {"backbone": backbone, "head": {**head, "logits": {"kernel": kernel, "bias": bias}}}
    known, teacher = np.arange(room) < 7, np.arange(room) < 6
    labels = r["onehot"].argmax(1).astype(np.int32)
    context = objectives.Context(
        jnp.asarray(known), jnp.asarray(teacher), jnp.asarray(known), jnp.float32(0.1), jnp.float32(3.0)
    )
    activations = network.trunk(params, x, cut)
    logits, _ = network.tail(params, activations, cut)
    np.testing.assert_allclose(logits[:, :7], r["logits"], rtol=1e-4)

    # The vectors come with a teacher of their own.
    teacher_logits = jnp.zeros((2, room)).at[:, :6].set(r["teacher_logits"])
    cross_entropy = losses.cross_entropy(logits, labels, context.class_mask).mean()
    distillation = losses.distillation(teacher_logits, logits, context.class_mask, 3.0).mean()
    np.testing.assert_allclose(cross_entropy, r["cl_loss"], rtol=1e-4)
    np.testing.assert_allclose(distillation, r["dist_loss"], rtol=1e-4)

    recipe_ = Recipe(
        network, cut, objectives.distilled_cross_entropy, batch_size=2, learning_rate=1e-5, uses_teacher=True
    )
    trainable, frozen = network.split(params, cut)

    @jax.jit
    def gradient(trainable):
        def objective(trainable):
            logits, features = network.tail(merge(trainable, frozen), activations, cut)
            outputs = objectives.Outputs(logits, features, jnp.asarray(labels), teacher_logits)
            return objectives.distilled_cross_entropy(outputs, context).mean()

        return jax.value_and_grad(objective)(trainable)

    loss, gradients = gradient(trainable)
    np.testing.assert_allclose(loss, r["total_loss"], rtol=1e-4)
    leaves = _keras_leaves(gradients, r["trainable_names"], known=7)
    for i, leaf in enumerate(leaves):
        name = r["trainable_names"][i]
        np.testing.assert_allclose(np.linalg.norm(leaf), r["grad_l2"][i], rtol=1e-3, err_msg=name)
        first, norm = leaf.reshape(-1)[:8], np.linalg.norm(leaf)
        expected = r["grad_first8"][i][: first.size]
        np.testing.assert_allclose(first, expected, atol=1e-3 * norm, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(leaves[-2], r["grad_cont_dense_kernel"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(leaves[-1], r["grad_cont_dense_bias"], rtol=1e-3, atol=1e-6)
    assert (np.asarray(gradients["head"]["logits"]["kernel"])[:, 7:] == 0).all()

    optimizer = recipe_.optimizer()
    updates, _ = optimizer.update(gradients, optimizer.init(trainable), trainable)
    for leaf, expected in zip(_keras_leaves(updates, r["trainable_names"], 7), r["update_l2"], strict=True):
        np.testing.assert_allclose(np.linalg.norm(leaf), expected, rtol=1e-3)
    stepped = optax.apply_updates(trainable, updates)
    after, _ = network.tail(merge(stepped, frozen), activations, cut)
    np.testing.assert_allclose(after[:, :7], r["logits_after_adam_lr1e5"], rtol=1e-3, atol=1e-4)


def _keras_leaves(tree, names, known: int) -> list[np.ndarray]:
    """Leaves in Keras' order, the logits cut to the known classes."""
    heads = {"dense": "hidden0", "dense_1": "hidden1", "cont_Dense": "logits"}
    leaves = []
    for name in names:
        layer, weight = str(name).split(":")[0].rsplit("/", 1)
        if layer in heads:
            leaf = np.asarray(tree["head"][heads[layer]][weight])
            leaves.append(leaf[..., :known] if layer == "cont_Dense" else leaf)
        else:
            leaves.append(np.asarray(tree["backbone"][layer][weight]))
    return leaves
