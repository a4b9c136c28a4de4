"""A linear classifier of features as a network's head, and in its file."""

import jax
import numpy as np

from fer_jax.classifiers import Linear
from fer_jax.inference import linear_head, trained


def test_a_network_under_a_linear_head_has_the_classifiers_scores(tiny_run):
    model = trained.restore(tiny_run, trained.BASE)
    rng, width = np.random.default_rng(0), model.network.backbone.feature_width
    linear = Linear(rng.normal(size=(width, 4)).astype(np.float32), np.arange(4, dtype=np.float32))
    features = rng.normal(size=(3, width)).astype(np.float32)
    network, params = linear_head.headed(model.network, model.params["backbone"], linear)
    found, same = network.tail(params, features, "head")
    np.testing.assert_allclose(found, features @ linear.kernel + linear.bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(same, features)
    # It has the structure of one that was trained.
    like = network.head.init(jax.random.key(0), features[:1])["params"]
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, params["head"])


def test_a_saved_head_is_read_by_its_stamp_alone(tmp_path):
    path = tmp_path / "heads" / "one.npz"
    linear = Linear(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    assert linear_head.read(path, "a") is None
    linear_head.write(path, "a", linear)
    np.testing.assert_array_equal(linear_head.read(path, "a").kernel, linear.kernel)
    assert linear_head.read(path, "b") is None
    assert [file.name for file in path.parent.iterdir()] == ["one.npz"]
    path.write_bytes(path.read_bytes()[:60])
    assert linear_head.read(path, "a") is None
    (tmp_path / "file").touch()
    linear_head.write(tmp_path / "file" / "one.npz", "a", linear)  # a folder that cannot be written to
