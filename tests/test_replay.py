"""Memory selection against the published code, and the rule of what an epoch may read as a property."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax import replay


def test_memory_of_four_updates_equals_the_published_code(reference):
    r = reference("b_memory")
    classes = r["class_of_id"]
    m = int(r["M0_m0"][1])
    memory = replay.empty_memory(10, m)
    for call in range(4):
        logits = r[f"logits_call{call}"]
        for c in range(6) if call == 0 else [5 + call]:
            chosen = replay.predictive_sort(jnp.asarray(logits[:, c]), jnp.asarray(classes == c), m)
            memory = replay.remember(memory, c, chosen)
        memory = replay.truncate(memory, m)
        stored = np.asarray(memory.index).reshape(-1)
        np.testing.assert_array_equal(stored[stored >= 0], r[f"grow_memory_ids_call{call}"])


@pytest.mark.parametrize("mode", ["grow", "limit"])
def test_schedule_equals_the_published_code(reference, mode):
    table = reference("b_schedule_cfee230")
    columns = {name: i for i, name in enumerate(table["columns"])}
    sizes = []
    for row in table[mode]:
        i = int(row[columns["i"]])
        m = replay.exemplars_per_class(4347, 21, 6, i, mode, "published", 0.3)
        sizes.append(m)
        assert m == row[columns["m"]]
        # Base classes keep what was stored at first, later classes are cut to m.
        total = 6 * min(sizes[0], m) + i * m
        assert total == row[columns["memory_size"]]
        assert (total + m) // 16 == row[columns["steps_per_epoch_b16"]]


@pytest.mark.parametrize("mode", ["grow", "limit"])
def test_a_memory_kept_through_all_increments_has_the_published_size(reference, mode):
    table = reference("b_schedule_cfee230")
    columns = {name: i for i, name in enumerate(table["columns"])}
    images = jnp.arange(200, dtype=jnp.int32)
    sizes = [replay.exemplars_per_class(4347, 21, 6, i, mode, "published", 0.3) for i in range(15)]
    memory = replay.empty_memory(21, max(sizes))
    for c in range(6):
        memory = replay.remember(memory, c, images[: max(sizes)] + 200 * c)
    for row, (i, m) in zip(table[mode], enumerate(sizes), strict=True):
        memory = replay.truncate(memory, m)
        assert int(memory.count.sum()) == row[columns["memory_size"]]
        memory = replay.remember(memory, 6 + i, images[: max(sizes)] + 200 * (6 + i))


def test_limit_uses_the_whole_memory_from_the_start_when_held_out():
    sizes = [replay.exemplars_per_class(4347, 21, 6, i, "limit", "held_out", 0.3) for i in range(15)]
    assert sizes[0] == 1304 // 6
    assert all((6 + i) * m <= 1304 < (6 + i) * (m + 1) for i, m in enumerate(sizes))


def test_several_classes_at_a_time_share_the_limit():
    # 900 of 3000 images; 6 and 4 · 2 classes are known.
    assert replay.exemplars_per_class(3000, 21, 6, 2, "limit", "held_out", 0.3, per_increment=4) == 900 // 14


def test_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match=r"memory\.mode"):
        replay.exemplars_per_class(100, 21, 6, 0, "ring", "held_out", 0.3)


scores = hnp.arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-50, 50, width=32, allow_subnormal=False)
)  # XLA takes those for 0


@hypothesis.given(scores, st.data(), st.integers(1, 12))
@hypothesis.settings(deadline=None, max_examples=60)
def test_predictive_sort_takes_the_best_candidates_best_first(logits, data, m):
    candidates = data.draw(hnp.arrays(bool, len(logits)))
    chosen = np.asarray(replay.predictive_sort(jnp.asarray(logits), jnp.asarray(candidates), m))
    expected = sorted(np.flatnonzero(candidates), key=lambda i: (-logits[i], i))[:m]
    assert chosen.tolist() == list(expected) + [-1] * (m - len(expected))


def test_predictive_sort_prefers_a_candidate_of_any_score_to_none():
    logits = jnp.asarray([1.0, -jnp.inf, 5.0, jnp.nan])
    chosen = replay.predictive_sort(logits, jnp.asarray([False, True, False, True]), 3)
    assert sorted(np.asarray(chosen).tolist()) == [-1, 1, 3]
    assert chosen[2] == -1


@hypothesis.given(st.integers(0, 2**31 - 1), st.integers(0, 6), st.integers(0, 5), st.integers(1, 9))
@hypothesis.settings(deadline=None, max_examples=40)
def test_an_epoch_reads_nothing_but_memory_and_the_current_class(seed, stored, n_old, m):
    n, n_classes = 40, 7
    labels = np.random.default_rng(seed).integers(0, n_classes, n)
    memory = replay.empty_memory(n_classes, 6)
    for c in range(n_old):
        rows = np.flatnonzero(labels == c)[:stored]
        memory = replay.remember(memory, c, jnp.asarray(np.pad(rows, (0, 6 - len(rows)), constant_values=-1)))
    new = labels == n_old
    pool = np.asarray(replay.epoch_pool(jax.random.key(seed), memory, jnp.asarray(new), m, 9))
    allowed = set(np.asarray(memory.index).reshape(-1)) | set(np.flatnonzero(new)) | {-1}
    assert set(pool) <= allowed
    fresh = pool[42:]
    assert (fresh >= 0).sum() == min(m, new.sum())
    kept = fresh[fresh >= 0]
    assert len(set(kept)) == len(kept)
    order, filled = replay.shuffle_pool(jax.random.key(seed + 1), jnp.asarray(pool))
    assert int(filled) == (pool >= 0).sum()
    assert sorted(np.asarray(order[: int(filled)])) == sorted(pool[pool >= 0])


def test_fresh_images_are_drawn_anew_and_evenly():
    new = jnp.arange(20) < 10
    draws = [np.asarray(replay.draw(jax.random.key(i), new, 4, 4)) for i in range(300)]
    counts = np.bincount(np.concatenate(draws), minlength=20)
    assert (counts[10:] == 0).all()
    # 300 draws of 4 from 10: 120 each, standard deviation sqrt(300 * .4 * .6) = 8.5.
    assert abs(counts[:10] - 120).max() < 5 * 8.5


def test_the_images_of_an_epoch_are_those_of_its_key():
    """Of one class by the key itself, of further ones by keys derived from it; one with few images leaves places."""
    key, new = jax.random.key(3), jnp.asarray([[True] * 8 + [False] * 3, [False] * 8 + [True] * 3])
    memory = replay.remember(replay.empty_memory(1, 2), 0, jnp.asarray([0, -1]))
    assert memory.count.tolist() == [1]  # the first image of all is one, too
    one, two = replay.draw(key, new[0], 3, 4), replay.draw(jax.random.fold_in(key, 1), new[1], 3, 4)
    assert replay.epoch_pool(key, memory, new[0], 3, 4).tolist() == [0, -1, *one.tolist()]
    assert replay.epoch_pool(key, memory, new, 3, 4).tolist() == [0, -1, *one.tolist(), *two.tolist()]
    assert replay.draw(key, new[1], 9, 13)[3:].tolist() == [-1] * 10
    pool, filled = replay.shuffle_pool(key, jnp.asarray([-1, 0, -1, 4]))
    assert (sorted(pool[:2].tolist()), int(filled)) == ([0, 4], 2)


def test_a_score_that_is_no_number_is_given_up_first_and_only_for_an_exemplar():
    memory = replay.Memory(jnp.asarray([[4, 5], [6, -1]]), jnp.asarray([2, 1]))
    scores = jnp.asarray([[jnp.nan, 0.5], [-jnp.inf, 9.0]])
    for budget, kept in ((3, [[4, 5], [6, -1]]), (1, [[5, -1], [-1, -1]])):
        found = replay.trim(memory, scores, budget)
        assert found.index.tolist() == kept
        assert found.count.tolist() == [sum(i >= 0 for i in row) for row in kept]


@pytest.mark.parametrize("name", replay.RULES)
def test_a_rule_says_what_its_score_looks_at(name):
    """Without logits and features its score is finite only if it needs no model; herding's is a place, always one."""
    rule = replay.RULES[name]
    blind = seen(np.full((4, 2), np.nan), np.full((4, 3), np.nan))
    assert np.isfinite(np.asarray(rule.score(blind))).all() == (not rule.needs_model or name == "herding")
    assert rule.balanced == (name != "reservoir")
    assert not rule.sees_stored
    assert hash(rule) == hash(replay.RULES[name])


def test_truncate_keeps_the_stored_order():
    memory = replay.remember(replay.empty_memory(2, 4), 1, jnp.asarray([7, 3, 9, -1]))
    memory = replay.truncate(memory, jnp.int32(2))
    np.testing.assert_array_equal(memory.index, [[-1] * 4, [7, 3, -1, -1]])
    np.testing.assert_array_equal(memory.count, [0, 2])


def seen(features, logits=None, candidates=None, draws=None) -> replay.Candidates:
    n = len(features)
    return replay.Candidates(
        jnp.zeros((n, 3)) if logits is None else jnp.asarray(logits, jnp.float32),
        jnp.asarray(features, jnp.float32),
        jnp.ones(n, bool) if candidates is None else jnp.asarray(candidates),
        jnp.int32(1),
        jnp.asarray([True, True, False]),
        jnp.arange(n) / n if draws is None else jnp.asarray(draws),
    )


def test_herding_takes_what_brings_the_mean_nearest():
    rng = np.random.default_rng(0)
    features = 0.1 * (rng.normal(size=(12, 4)) + 1)  # shorter than 1, and of different lengths
    candidates = np.arange(12) < 9
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean, taken = unit[:9].mean(0), []
    for k in range(9):
        left = [i for i in range(9) if i not in taken]
        distance = [np.linalg.norm(mean - (unit[taken].sum(0) + unit[i]) / (k + 1)) for i in left]
        taken.append(left[int(np.argmin(distance))])
    score = replay.herding_score(seen(features, candidates=candidates))
    assert np.argsort(-np.asarray(score)[:9], kind="stable").tolist() == taken
    assert np.isneginf(score[9:]).all()


def test_herding_ranks_an_image_whose_features_are_all_zero():
    score = replay.herding_score(seen([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0], [5.0, 5.0]]))
    assert np.argsort(-np.asarray(score), kind="stable").tolist() == [3, 1, 0, 2]


def test_the_other_scores_by_hand():
    c = seen([[0.0], [3.0], [9.0]], [[0, 0, 5], [9, 0, 5], [0, 1, 5]], candidates=[True, True, False])
    np.testing.assert_allclose(replay.closeness_score(c)[:2], [-1.5, -1.5])
    entropy = replay.entropy_score(c)  # of the known classes alone
    assert entropy[0] == pytest.approx(np.log(2))
    assert entropy[1] == pytest.approx(0.001234, rel=0.01)
    np.testing.assert_array_equal(replay.own_class_logit(c), [0, 0, 1])
    np.testing.assert_array_equal(replay.random_score(c), c.draws)


def test_a_shared_budget_is_a_uniform_sample_of_all_that_was_seen():
    draws = jax.random.uniform(jax.random.key(0), (100,))
    memory, owner = replay.empty_memory(4, 40), np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    for c in range(4):
        rows = np.flatnonzero(owner == c)
        ranked = rows[np.argsort(-np.asarray(draws)[rows])]
        memory = replay.remember(memory, c, jnp.asarray(np.pad(ranked, (0, 40 - len(rows)), constant_values=-1)))
        memory = replay.trim(memory, draws[jnp.maximum(memory.index, 0)], 25)
    kept = np.asarray(memory.index)
    # Those with the highest draws of all, whatever the order in which they came.
    assert sorted(kept[kept >= 0]) == sorted(np.argsort(-np.asarray(draws))[:25])
    assert np.asarray(memory.count).tolist() == (kept >= 0).sum(1).tolist()
    assert all((owner[row[row >= 0]] == c).all() for c, row in enumerate(kept))


def test_images_of_several_new_classes_are_drawn_apart():
    memory = replay.empty_memory(2, 1)
    new = jnp.asarray([[True] * 5 + [False] * 5, [False] * 5 + [True] * 5])
    pool = np.asarray(replay.epoch_pool(jax.random.key(0), memory, new, 2, 3)).reshape(-1)[2:]
    assert [((pool >= a) & (pool < b)).sum() for a, b in ((0, 5), (5, 10))] == [2, 2]
