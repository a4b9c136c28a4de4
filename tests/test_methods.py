"""The table of methods: what differs between them, and a user's own."""

import dataclasses

import pytest

from fer_jax import methods
from fer_jax.config import names
from fer_jax.errors import UserError


def test_the_ingredients_together_are_the_papers_method():
    whole = names.method("fer_jax.ingredients.predictive_sort_base_masked")
    paper = methods.METHODS["kd_psmr"]
    assert dataclasses.replace(whole, name=paper.name, objective=paper.objective) == paper
    apart = names.method("fer_jax.ingredients.random_previous_padded")
    assert (apart.selects, apart.teacher) == ("random", "previous")
    assert names.method("fer_jax.ingredients.herding_alone").teacher == "none"
    all_new = names.method("fer_jax.ingredients.kd_psmr_all_new")
    assert dataclasses.replace(all_new, name=whole.name, reads=whole.reads) == whole
    assert (all_new.reads, whole.reads) == ("replay", "memory")


@pytest.mark.parametrize("name", ["er", "derpp", "er_ace"])
def test_a_method_of_pairs_differs_in_what_it_reads_alone(name):
    paired, union = names.method(f"{name}_paired"), names.method(name)
    assert dataclasses.replace(paired, name=name, reads="replay") == union
    assert paired.replays
    with pytest.raises(UserError, match=r"module fer_jax.ingredients has no best"):
        names.method("fer_jax.ingredients.best")


def test_methods_of_a_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_a_user.py").write_text(
        "from fer_jax import methods, objectives, replay\n"
        "mine = methods.Method('x', objectives.cross_entropy, reads='replay', selects='entropy')\n"
        "wrong = methods.Method('x', objectives.cross_entropy, reads='everything')\n"
        "rule = replay.Rule(lambda candidates: candidates.draws)\n"
        "scored = methods.Method('x', objectives.cross_entropy, reads='replay', selects=rule)\n"
        "lost = methods.Method('x', objectives.cross_entropy, reads='replay', selects='entropie')\n"
        "loss = objectives.cross_entropy\n"
    )
    found = names.method("of_a_user.mine")
    assert (found.name, found.selects) == ("of_a_user.mine", "entropy")
    assert names.method("er") is methods.METHODS["er"]
    with pytest.raises(UserError, match=r"'of_a_user.loss' is a function; it may be a fer_jax.methods.Method"):
        names.method("of_a_user.loss")
    with pytest.raises(UserError, match="has reads='everything'; it may be one of memory, "):
        names.method("of_a_user.wrong")
    assert methods.rule_of(names.method("of_a_user.scored")).needs_model
    with pytest.raises(UserError, match=r"'of_a_user.lost' selects 'entropie'; it may be one of predictive_sort, "):
        names.method("of_a_user.lost")
    with pytest.raises(UserError, match="'psmr' does not exist; it may be one of kd_psmr, "):
        names.method("psmr")
