"""The losses of the methods, each against its formula written out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import methods
from fer_jax.errors import UserError

KNOWN = np.array([1, 1, 1, 1, 0], bool)
OLD = np.array([1, 1, 0, 0, 0], bool)
NEW = KNOWN & ~OLD
LABELS = np.array([0, 2, 3])


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(size=(2, 3, 5)).astype(np.float32)
    recorded = np.full((3, 5), np.nan, np.float32)
    recorded[0, :2] = 1.0, -1.0
    kept = np.array([True, False, True])
    outputs = methods.Outputs(*map(jnp.asarray, (logits, np.zeros((3, 2)), LABELS, teacher, kept, recorded)))
    context = methods.Context(
        *map(jnp.asarray, (KNOWN, OLD, OLD)), jnp.float32(0.1), jnp.float32(3), jnp.asarray(NEW), jnp.float32(0.5)
    )
    return outputs, context


def log_softmax(z, mask):
    z = np.where(mask, z, -np.inf)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def ce(z, mask=KNOWN):
    return -log_softmax(z, mask)[np.arange(len(LABELS)), LABELS]


def kd(outputs, temperature=2.0):
    target = np.exp(log_softmax(np.asarray(outputs.teacher_logits) / temperature, OLD))
    ours = np.where(OLD, log_softmax(np.asarray(outputs.logits) / temperature, OLD), 0)
    return -(target * ours).sum(-1)


def test_lwf(batch):
    outputs, _ = batch
    expected = ce(np.asarray(outputs.logits)) + 0.5 * kd(outputs)
    np.testing.assert_allclose(methods.learning_without_forgetting(*batch), expected, rtol=1e-5)


def test_bic_and_wa_weigh_by_the_share_of_old_classes(batch):
    outputs, _ = batch
    expected = 0.5 * ce(np.asarray(outputs.logits)) + 0.5 * kd(outputs)
    np.testing.assert_allclose(methods.weighted_distillation(*batch), expected, rtol=1e-5)


def test_icarl(batch):
    outputs, _ = batch

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.asarray(x, np.float64)))

    target = np.where(OLD, sigmoid(outputs.teacher_logits), np.eye(5)[LABELS])
    p = sigmoid(outputs.logits)
    expected = -((target * np.log(p) + (1 - target) * np.log(1 - p)) * KNOWN).sum(-1)
    np.testing.assert_allclose(methods.icarl_loss(*batch), expected, rtol=1e-5)


def test_dark_experience_compares_what_was_recorded(batch):
    outputs, _ = batch
    z = np.asarray(outputs.logits)
    expected = ce(z)
    expected[0] += 0.5 * ((z[0, 0] - 1) ** 2 + (z[0, 1] + 1) ** 2) / 2
    np.testing.assert_allclose(methods.dark_experience(*batch), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: methods.dark_experience(batch[0]._replace(logits=z), batch[1]).sum())(outputs.logits)
    assert np.isfinite(gradient).all()


def test_er_ace_lets_new_examples_compete_among_the_new_classes(batch):
    outputs, _ = batch
    z = np.asarray(outputs.logits)
    expected = ce(z)
    expected[1] = ce(z, NEW)[1]  # the one that is not in the memory
    np.testing.assert_allclose(methods.asymmetric_cross_entropy(*batch), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: methods.asymmetric_cross_entropy(batch[0]._replace(logits=z), batch[1]).sum())(
        outputs.logits
    )
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[1, OLD] == 0).all()


def test_the_elastic_penalty_by_hand(batch):
    _, context = batch
    anchor = ({"w": jnp.asarray([2.0, 0.0])}, {"w": jnp.asarray([1.0, 1.0])})
    found = methods.elastic_penalty({"w": jnp.asarray([4.0, 9.0])}, context._replace(anchor=anchor))
    assert found == pytest.approx(0.25 * 2 * 9)


def test_the_ingredients_together_are_the_papers_method(batch):
    whole = methods.resolve("fer_jax.ingredients.predictive_sort_base_masked")
    paper = methods.METHODS["kd_psmr"]
    assert dataclasses.replace(whole, name=paper.name, loss=paper.loss) == paper
    np.testing.assert_array_equal(whole.loss(*batch), paper.loss(*batch))
    apart = methods.resolve("fer_jax.ingredients.random_previous_padded")
    assert (apart.keeps, apart.teacher) == ("random", "previous")
    assert not np.allclose(apart.loss(*batch), paper.loss(*batch))
    assert methods.resolve("fer_jax.ingredients.herding_alone").teacher == "none"
    all_new = methods.resolve("fer_jax.ingredients.kd_psmr_all_new")
    assert dataclasses.replace(all_new, name=whole.name, reads=whole.reads) == whole
    assert (all_new.reads, whole.reads) == ("replay", "memory")


@pytest.mark.parametrize("name", ["er", "derpp", "er_ace"])
def test_a_method_of_pairs_differs_in_what_it_reads_alone(name):
    paired, union = methods.resolve(f"{name}_paired"), methods.resolve(name)
    assert dataclasses.replace(paired, name=name, reads="replay") == union
    assert paired.replays
    with pytest.raises(UserError, match=r"module fer_jax.ingredients has no best"):
        methods.resolve("fer_jax.ingredients.best")


def test_methods_of_a_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_a_user.py").write_text(
        "from fer_jax import methods\n"
        "mine = methods.Method('x', methods.cross_entropy, reads='replay', keeps='entropy')\n"
        "wrong = methods.Method('x', methods.cross_entropy, reads='everything')\n"
        "scored = methods.Method('x', methods.cross_entropy, reads='replay', keeps='of_a_user.score')\n"
        "lost = methods.Method('x', methods.cross_entropy, reads='replay', keeps='entropie')\n"
        "score = lambda candidates: candidates.draws\n"
        "loss = methods.cross_entropy\n"
    )
    found = methods.resolve("of_a_user.mine")
    assert (found.name, found.keeps) == ("of_a_user.mine", "entropy")
    assert methods.resolve("er") is methods.METHODS["er"]
    with pytest.raises(UserError, match=r"'of_a_user.loss' is a function; it may be a fer_jax.methods.Method"):
        methods.resolve("of_a_user.loss")
    with pytest.raises(UserError, match="reads 'everything'; it may read memory, "):
        methods.resolve("of_a_user.wrong")
    assert methods.rule_of(methods.resolve("of_a_user.scored")).needs_model
    with pytest.raises(UserError, match="'entropie' does not exist; it may be one of predictive_sort, "):
        methods.resolve("of_a_user.lost")
    with pytest.raises(UserError, match="'psmr' does not exist; it may be one of kd_psmr, "):
        methods.resolve("psmr")
