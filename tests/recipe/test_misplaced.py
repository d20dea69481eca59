"""Keys that were looked for, in lists, unions and tables of sections."""

from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.misplaced import keys_beside
from rlpeft.recipe.run import Recipe


def test_keys_of_lists_and_unions_are_found():
    assert "weight" in keys_beside(Recipe, ("reward", 0, "weigh"))
    lora = keys_beside(Recipe, ("adapter", "lora", "rnk"))
    assert "rank" in lora
    assert "parametrisation" not in lora
    assert "std_floor" in keys_beside(AdaptRecipe, ("search", "cem", "std"))
