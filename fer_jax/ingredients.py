"""The paper's method and the proposed one taken apart.

Of the paper's there is every combination of its memory rule, its teacher and the classes of its distillation. All are
named by dotted path, like a user's own methods: `fer_jax.ingredients.RULE_TEACHER_MASK`, such as
`random_previous_padded`, and `RULE_alone` without distillation. `predictive_sort_base_masked` is `kd_psmr`;
`kd_psmr_all_new` is the same, but reads all new images in every epoch, as experience replay does.

`contrastive_replay_PART` is the proposed method with one part as it is in others: the base objective (`cross_entropy`,
`mixup`, `contrastive`), the increments' training as that of other methods (`tail`: its cut, batches, epochs and
learning rate), the memory rule (`random`, `predictive_sort`), the increments' objective (`distilled`), a learning rate
that does not fall (`constant`), the epoch that validation images choose (`best_epoch`), and the answers without mirror
images (`plain`). Two variants add to the base objective what related systems tell of a face: `action_units`, the units
of each image, and `mixed_identities`, people between two people (config.data.twin is mixed).
"""

import dataclasses
import itertools

import jax

from fer_jax import methods, objectives

RULES = ("predictive_sort", "random", "herding")
TEACHERS = ("base", "previous")


def masked(outputs: objectives.Outputs, context: objectives.Context) -> jax.Array:
    """Returns the paper's loss, distilled over the teacher's classes alone, f32[B]."""
    return objectives.distilled_cross_entropy(outputs, context._replace(distill_mask=context.teacher_mask))


def padded(outputs: objectives.Outputs, context: objectives.Context) -> jax.Array:
    """Returns the paper's loss as published, f32[B]: over all known classes, missing teacher logits are 0."""
    return objectives.distilled_cross_entropy(outputs, context._replace(distill_mask=context.class_mask))


_BASE = objectives.OBJECTIVES["contrastive_mixup"]
with_action_units = _BASE.replace(
    terms={**_BASE.terms, "action_units": objectives.TERMS["action_units"]},
    heads={**_BASE.heads, **objectives.OBJECTIVES["action_units"].heads},
    targets=("action_units",),
)
with_mixed_identities = _BASE.replace(twins=objectives.OBJECTIVES["identity_mixing"].twins)


def _all() -> dict[str, methods.Method]:
    combinations = {
        f"{rule}_{teacher}_{mask.__name__}": methods.Method("", mask, "memory", selects=rule, teacher=teacher)
        for rule, teacher, mask in itertools.product(RULES, TEACHERS, (masked, padded))
    }
    alone = {f"{rule}_alone": methods.Method("", objectives.cross_entropy, "memory", selects=rule) for rule in RULES}
    all_new = methods.Method("", masked, "replay", teacher="base")
    changed = {
        **{base: {"base": base} for base in ("cross_entropy", "mixup", "contrastive")},
        **{rule: {"selects": rule} for rule in ("random", "predictive_sort")},
        "tail": {"settings": "continual"},
        "distilled": {"objective": masked, "teacher": "base"},
        "constant": {"falls": False},
        "best_epoch": {"validates": "seen"},
        "plain": {"mirrored": False},
        **{name: {"base": f"{__name__}.with_{name}"} for name in ("action_units", "mixed_identities")},
    }
    whole = methods.METHODS["contrastive_replay"]
    parts = {f"{whole.name}_{part}": dataclasses.replace(whole, **change) for part, change in changed.items()}
    return {**combinations, **alone, "kd_psmr_all_new": all_new, **parts}


ALL = _all()


def __getattr__(name: str) -> methods.Method:
    try:
        return ALL[name]
    except KeyError:
        raise AttributeError(name) from None
