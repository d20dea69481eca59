"""The [adapter] section: geometric methods, and mistakes named before a model is loaded."""

import re

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import parse_recipe


def adapter(**section):
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    return parse_recipe(tree | {"adapter": section}, source="a").adapter


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "hyplora", "variant": "spiral"}, r"variant.*'rotation' or 'boost'.*'spiral'"),
        ({"type": "hyplora", "norm_mode": "max"}, r"norm_mode.*'scale'.*'max'"),
        ({"type": "hyplora", "curvature": 1.0}, r"curvature.*less than or equal to 0, got 1\.0"),
        ({"type": "hyplora", "curvature": -9.0}, r"between 0\.001 and 4\.0.*got 9\.0"),
        (
            {"type": "hyplora", "curvature": 0.0},
            r"between 0\.001 and 4\.0.*learn_curvature = false",
        ),
        ({"type": "hyplora", "curvature_bounds": [2.0, 1.0]}, r"0 < low < high.*\(2\.0, 1\.0\)"),
        ({"type": "hyplora", "curvature_reg": -1.0}, r"curvature_reg.*greater than or equal to 0"),
        ({"type": "moslora", "map": "mercator"}, r"map.*'ambient', 'stereo' or 'proj'.*'mercator'"),
        ({"type": "moslora", "router": "hash"}, r"router.*'linear', 'mlp' or 'z'.*'hash'"),
        ({"type": "moslora", "spaces": ["flat"]}, r"spaces.*'euclidean'.*'flat'"),
        ({"type": "moslora", "spaces": []}, r"spaces.*at least 1"),
        ({"type": "moslora", "rank": 3}, r"rank must exceed the number of adapter\.spaces \(3\)"),
        ({"type": "moslora", "curvature": 4.0}, r"between 0\.001 and 4\.0.*got 4\.0"),
        ({"type": "moslora", "balance_coef": -1}, r"balance_coef.*greater than or equal to 0"),
        (
            {"type": "moslora", "variant": "boost"},
            r"unknown key 'adapter\.variant' of adapter\.type = 'moslora'",
        ),
        ({"type": "lora", "rank": 0}, r"adapter\.rank: must be greater than or equal to 1, got 0"),
        (
            {"type": "qlora"},
            r"adapter\.type must be one of svf, lora, .*, moslora, got 'qlora'\. .*"
            r"adapter\.type = 'lora', .* quantization_config",
        ),
        ({"type": "loraa"}, r"one of svf, .*, got 'loraa'\. Did you mean 'lora'\?"),
        ({"type": 5}, r"adapter\.type must be one of svf, .*, got '5'\."),
        ({"targets": "("}, r"one regular expression.*got '\(': missing \)"),
        ({"targets": "a{99999999999999999999}"}, r"one regular expression.*too large"),
        ({"targets": "(" * 6000 + ")" * 6000}, r"12000 characters, the most are 10000"),
        ({"targets": []}, r"adapter\.targets must name modules, got \(\)"),
        ({"type": "ia3", "targets": ["k_proj", ""]}, r"adapter\.targets must name modules"),
        ({"layers": []}, r"adapter\.layers must list layer indices.*got \[\]"),
        ({"layers": [-1]}, r"adapter\.layers must list layer indices.*got \[-1\]"),
    ],
)
def test_a_mistake_is_named(section, message):
    with pytest.raises(ConfigError, match=message):
        adapter(**section)


def test_a_fixed_curvature_may_be_anything_the_map_can_take():
    assert adapter(type="hyplora", curvature=0.0, learn_curvature=False).curvature == 0.0
    assert adapter(type="moslora", curvature=9.0, learn_curvature=False).curvature == 9.0


def test_flat_experts_alone_need_no_curvature():
    assert adapter(type="moslora", spaces=["euclidean"], curvature=0.0).spaces == ("euclidean",)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"train": {"steps": True}}, "train.steps: must be a number, got True"),
        ({"learner": {"lr": True}}, "learner.lr: must be a number, got True"),
        ({"adapter": {"type": "lora", "rank": True}}, "rank: must be a number, got True"),
        (
            {"adapter": {"type": "hyplora", "curvature_bounds": [True, 4.0]}},
            "curvature_bounds: must be a number, got [True, 4.0]",
        ),
        (
            {"adapter": {"type": "hyplora", "learn_curvature": 1}},
            "learn_curvature: must be true or false, got 1",
        ),
    ],
)
def test_a_boolean_is_no_number_and_a_number_no_boolean(tree, said):
    sections = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_recipe(sections | tree, source="a")
