"""Loss terms against their formulae written out, and objectives as values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import objectives

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
    stored = np.array([True, False, True])
    outputs = objectives.Outputs(*map(jnp.asarray, (logits, np.zeros((3, 2)), LABELS, teacher, stored, recorded)))
    context = objectives.Context(
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
    np.testing.assert_allclose(objectives.learning_without_forgetting(*batch), expected, rtol=1e-5)


def test_bic_and_wa_weigh_by_the_share_of_old_classes(batch):
    outputs, _ = batch
    expected = 0.5 * ce(np.asarray(outputs.logits)) + 0.5 * kd(outputs)
    np.testing.assert_allclose(objectives.weighted_distillation(*batch), expected, rtol=1e-5)


def test_icarl(batch):
    outputs, _ = batch

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.asarray(x, np.float64)))

    target = np.where(OLD, sigmoid(outputs.teacher_logits), np.eye(5)[LABELS])
    p = sigmoid(outputs.logits)
    expected = -((target * np.log(p) + (1 - target) * np.log(1 - p)) * KNOWN).sum(-1)
    np.testing.assert_allclose(objectives.sigmoid_distillation(*batch), expected, rtol=1e-5)


def test_dark_experience_compares_what_was_recorded(batch):
    outputs, _ = batch
    z = np.asarray(outputs.logits)
    expected = ce(z)
    expected[0] += 0.5 * ((z[0, 0] - 1) ** 2 + (z[0, 1] + 1) ** 2) / 2
    np.testing.assert_allclose(objectives.dark_experience(*batch), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: objectives.dark_experience(batch[0]._replace(logits=z), batch[1]).sum())(
        outputs.logits
    )
    assert np.isfinite(gradient).all()


def test_er_ace_lets_new_examples_compete_among_the_new_classes(batch):
    outputs, _ = batch
    z = np.asarray(outputs.logits)
    expected = ce(z)
    expected[1] = ce(z, NEW)[1]  # the one that is not in the memory
    np.testing.assert_allclose(objectives.asymmetric_cross_entropy(*batch), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: objectives.asymmetric_cross_entropy(batch[0]._replace(logits=z), batch[1]).sum())(
        outputs.logits
    )
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[1, OLD] == 0).all()


def test_the_elastic_penalty_by_hand(batch):
    _, context = batch
    anchor = ({"w": jnp.asarray([2.0, 0.0])}, {"w": jnp.asarray([1.0, 1.0])})
    found = objectives.elastic_penalty({"w": jnp.asarray([4.0, 9.0])}, context._replace(anchor=anchor))
    assert found == pytest.approx(0.25 * 2 * 9)


def test_weight_decay_goes_by_name():
    params = {"head": {"hidden0": {"kernel": jnp.full(2, 2.0), "bias": jnp.ones(1)}, "logits": {"kernel": jnp.ones(3)}},
              "heads": {"projection": [{"kernel": jnp.ones(5)}]}}  # fmt: skip
    assert float(objectives.WeightDecay(r"head/hidden\d+/kernel", 0.5)(params)) == 0.5 * 8
    assert float(objectives.WeightDecay(r"heads/projection/0/kernel", 2.0)(params)) == 10
    assert objectives.WeightDecay("head/none", 1.0)(params) == 0


def test_terms_are_weighted_and_summed(batch):
    def twice(outputs, context):
        return jnp.full(3, 2.0)

    objective = objectives.Objective({"ce": objectives.cross_entropy, "twice": objectives.Term(twice, 0.5)})
    expected = objectives.cross_entropy(*batch) + 1.0
    np.testing.assert_allclose(objective.value(*batch, lambda o: o, lambda v: v), expected, rtol=1e-6)
    assert objective == objectives.Objective({"ce": objectives.cross_entropy, "twice": objectives.Term(twice, 0.5)})
    assert hash(objective) == hash(objective.replace())


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"terms": {}}, "at least one term"), ({"views": 0}, "views is 0; it may be from 1"),
     ({"batches": "sorted"}, "batches is 'sorted'; it may be one of shuffled, balanced, subject_pairs")],
)  # fmt: skip
def test_what_an_objective_cannot_be(changes, said):
    with pytest.raises(ValueError, match=said):
        objectives.OBJECTIVES["cross_entropy"].replace(**changes)


def test_the_cross_entropy_of_mixed_images_counts_both_labels(batch):
    outputs, context = batch
    shares, partners = np.array([0.5, 0.75, 1.0]), np.array([1, 0, 2])
    mixed = outputs._replace(shares=jnp.asarray(shares), partners=jnp.asarray(partners))
    log = log_softmax(np.asarray(outputs.logits), KNOWN)
    expected = shares * ce(np.asarray(outputs.logits)) - (1 - shares) * log[np.arange(3), partners]
    np.testing.assert_allclose(objectives.cross_entropy(mixed, context), expected, rtol=1e-5)


def test_an_objective_that_makes_views_says_so():
    plain = objectives.OBJECTIVES["cross_entropy"]
    assert not plain.sees_own_views
    assert all(plain.replace(**one).sees_own_views for one in ({"views": 2}, {"mixup": 0.3}))
    with pytest.raises(ValueError, match="mixup is -1; it may be a number from 0"):
        plain.replace(mixup=-1)


def test_views_are_each_others_only_positives_without_labels():
    z = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), jnp.float32)
    outputs = objectives.Outputs(z, z, jnp.zeros(6, int), z, examples=jnp.array([0, 1, 2, 0, 1, 2]))
    unit = np.asarray(z) / np.linalg.norm(z, axis=1, keepdims=True)
    s = unit @ unit.T / 0.1
    np.fill_diagonal(s, -np.inf)
    expected = np.log(np.exp(s).sum(1)) - s[np.arange(6), [3, 4, 5, 0, 1, 2]]
    np.testing.assert_allclose(objectives.instance_contrastive(outputs, None), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["action_units", "class_action_units"])
def test_units_are_targets_of_a_head(name):
    term, wanted = objectives.OBJECTIVES[name].terms[name], np.array([[0.0, 0.5], [1.0, 0.25]], np.float32)
    logits = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    outputs = objectives.Outputs(*[jnp.zeros((2, 2))] * 4, targets={name: wanted}, heads={"units": jnp.asarray(logits)})
    chance = 1 / (1 + np.exp(-logits))
    expected = -(wanted * np.log(chance) + (1 - wanted) * np.log(1 - chance)).mean(1)
    np.testing.assert_allclose(term.loss(outputs, None), expected, rtol=1e-5)
    assert objectives.OBJECTIVES[name].targets == (name,)


def test_class_weights_multiply_the_loss_of_each_row(batch):
    outputs, context = batch
    objective = objectives.Objective({"a": objectives.cross_entropy, "b": objectives.distilled_cross_entropy})
    weights = jnp.asarray([2.0, 9.0, 0.0, 0.5, 9.0])
    plain = objective.value(outputs, context, lambda x: x, lambda x: x)
    found = objective.value(outputs, context._replace(class_weights=weights), lambda x: x, lambda x: x)
    np.testing.assert_allclose(found, plain * np.asarray([2.0, 0.0, 0.5]), rtol=1e-6)


def test_an_objective_is_balanced_in_two_ways():
    plain = objectives.OBJECTIVES["contrastive"]
    assert plain.balanced("none") == plain
    assert (plain.balanced("weights").weighted, plain.balanced("weights").batches) == (True, "shuffled")
    assert (plain.balanced("sampler").weighted, plain.balanced("sampler").batches) == (False, "balanced")
    pairs = objectives.OBJECTIVES["subject_contrastive"]
    assert pairs.balanced("weights").batches == "subject_pairs"
    with pytest.raises(ValueError, match="its batches are subject_pairs; balance may be none or weights"):
        pairs.balanced("sampler")
