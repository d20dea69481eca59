"""What English counts: "7 red apples" is seven, "5 lakh" and "5 factorial" are not five.

No list holds every noun, so the grammar decides: what is counted stands in the plural, or is one
of the nouns below that have none. Anything else behind a number is not skipped but refused.
"""

from __future__ import annotations

import re

from rewards.math.vocabulary.words import word_set

_WITHOUT_S = word_set(
    "people children men women feet geese mice teeth oxen sheep fish deer cattle money candy fruit "
    "cash homework housework water milk juice bread rice sugar flour paper furniture staff crew "
    "folk police clothing equipment luggage mail hair chocolate pizza cake profit gold silver "
    "salmon trout shrimp popcorn corn wood sand soil grass fabric yarn ribbon string rope wire "
    "butter cheese meat beef chicken salad soup tea coffee lemonade soda wine beer gas fuel oil "
    "time space room work pay income weight height length width depth area volume speed distance "
    "points dice bacteria data criteria vertices indices matrices fungi cacti alumni species "
    "aircraft spacecraft offspring jewelry pasta bacon ham garlic spinach broccoli lettuce dough "
    "batter cream syrup honey salt pepper medicine jewellery stuff artwork software hardware "
    "livestock poultry wildlife fruit playdough clay ink paint glue tape mulch gravel"
)
_NO_NOUN = word_set(
    "plus minus less as has was does its yes always perhaps versus vs besides equals gives makes "
    "becomes means remains yields hers ours yours theirs whereas afterwards upwards towards "
    "sometimes others basis alas lets modulus kilo mega giga tera milli micro nano "
    "pico inverse root reciprocal ppm negative positive opposite power log exponent"
)
_PLURAL = re.compile(r"[a-z][a-z'’-]*[a-z][^siu\W]s\Z|[a-z]{2,}(?:ies|ius|oes|ees|ais|ois|eis)\Z")
SENTENCE_WORDS = word_set(
    "is are was were be been not no never answer answers correct wrong right because so since if "
    "it this that these which can cannot could may might must should would will maybe perhaps "
    "except without unless minus plus modulo mod divided multiplied squared cubed factorial base "
    "neither nor but than least most mod"
)
FILLERS = word_set(
    "of total the a an each altogether left away more approximately about fewer less remaining "
    "apiece only exactly long wide tall high deep thick old older younger apart extra additional "
    "overall combined together daily weekly monthly yearly annually hourly in all per"
)
COMMON = FILLERS | SENTENCE_WORDS | word_set("old now red new big few had you she they his her")
PREPOSITIONS = word_set("of in for from at on by to with between among into after before during")


def counts(word: str) -> bool:
    """Whether a casefolded word can stand behind a number as what is counted."""
    if is_countable_without_s(word):
        return True
    return word not in _NO_NOUN and word not in SENTENCE_WORDS and bool(_PLURAL.match(word))


def is_countable_without_s(word: str) -> bool:
    return word in _WITHOUT_S or word.endswith(("fish", "children", "women"))


def is_singular(word: str) -> bool:
    """Whether a casefolded word may stand behind one, or a part of one: "1/2 mug"."""
    return word.isascii() and word.isalpha() and len(word) > 2 and word not in _NO_NOUN


def singular(word: str) -> str:
    """One name for "apple" and "apples"; it is only ever compared, never shown."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
