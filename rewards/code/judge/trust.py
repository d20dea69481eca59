"""What an operator of the program's own says, and how far that counts.

A comparison that the program defines is the program's word about itself. It counts only where
what it says follows from data that is compared here: two objects are equal if their fields are,
a difference is a number if it moves with its operand. What says yes to everything is wrong, and
what can only be believed is not judged.
"""

from __future__ import annotations

import math
import random
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.bridge.wire import WireError
from rewards.code.errors import Refuted, Unjudged
from rewards.code.judge.parts import NOTHING, Shape, builtin_of, computed, is_program, plain

_ORDER = {"__lt__": "__gt__", "__gt__": "__lt__", "__le__": "__ge__", "__ge__": "__le__"}
_LINEAR = frozenset({"__add__", "__radd__", "__sub__", "__rsub__"})
_ARITHMETIC = frozenset(f"__{p}{name}__" for name in mirror.BINARY.split() for p in ("", "r", "i"))
_PREDICATES = frozenset(
    {"startswith", "endswith", "issubset", "issuperset", "isdisjoint", "equals", "isclose"}
    | {"difference", "symmetric_difference"}
)
_TO_NUMBER = frozenset(
    f"__{name}__"
    for name in (
        "abs",
        "float",
        "int",
        "index",
        "complex",
        "round",
        "trunc",
        "floor",
        "ceil",
        "bool",
        "len",
    )
)
_TO_VALUE = (_TO_NUMBER - {"__len__", "__bool__"}) | frozenset(
    f"__{name}__" for name in ("neg", "pos", "invert", "str", "repr", "format", "bytes")
)
_ITERATING = ("__iter__", "__reversed__")
_NUMBERS = (int, float)
_MAX_EQUAL = 50
_STRANGER = "·nothing of the kind"
_GIVEN = "the program's own operator is given a value of the tests"
_EVERYTHING = "it holds for whatever it is compared with"


class Trust:
    """The judge's view of the operators of one program.

    Args:
        bridge: to the program.
    """

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self._random = random.Random()  # the program must not foresee which question is real
        self.tested: set[Any] = set()
        """Classes that the tests call by name."""
        self._made: dict[int, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {}
        self._equal: list[tuple[Any, Any, Any]] = []
        self._heard: set[Any] = set()  # classes that a value of the tests was compared with
        self._told: set[Any] = set()  # objects that may hold a number that the tests expect

    def made(self, thing: Any, cls: Any, arguments: tuple[Any, ...], options: Any) -> None:
        """Remember how the tests made an object of the program's."""
        self._made[mirror.handle_of(thing) or 0] = (cls, arguments, options)

    def special(self, target: Any, name: str, *arguments: Any) -> Any:
        """Apply an operator of `target`, and say what counts of its answer.

        Raises:
            Refuted: it holds whatever it is applied to.
            Unjudged: nothing but the program's word stands for it.
        """
        if name == "__eq__":
            return self._equals(target, arguments[0])
        if name == "__ne__":
            equal = self._equals(target, arguments[0])
            return equal if equal is NotImplemented else not equal
        if name in _ORDER:
            return self._ordered(target, name, arguments[0])
        if name == "__contains__":
            return self._contains(target, arguments[0])
        if name in _ARITHMETIC and not is_program(arguments[0]):
            return self._arithmetic(target, name, *arguments)
        is_told = any(mirror.handle_of(one) in self._told for one in (target, *arguments))
        native = computed(target, name, *arguments) if is_told else NOTHING
        result = self._bridge.request("special", target, name, *arguments)
        if name in _TO_VALUE and type(target) in self._heard:
            raise Unjudged(_GIVEN)
        if is_told and (name in _TO_NUMBER or not self._is_tested(target)):
            is_value = plain(result) is not NOTHING or name in _ITERATING  # maybe of nothing
            if is_value and not _is_same(plain(result), native):
                raise Unjudged(_GIVEN)
        if is_told and is_program(result):
            self._told.add(mirror.handle_of(result))
        return result

    def attribute(self, target: Any, name: str) -> None:
        """See that an attribute may be asked for."""
        if isinstance(target, type) or self._is_tested(target):
            return
        replaced = not name.startswith("__") and hasattr(builtin_of(target), name)
        if name in _PREDICATES or replaced:
            raise Unjudged(f"the program's own {name}() decides what the tests ask")

    def finish(self) -> None:
        """Check, after the tests, that objects that were equal show what they are made of.

        Raises:
            Refuted: they are equal whatever they are made of.
        """
        for left, right, shape in self._equal:
            if self._claims(left, "__eq__", _STRANGER) is True:
                raise Refuted(f"the program's == decides: {_EVERYTHING}")
            shapes = [s for thing in (left, right) for s in self._other_shapes(thing)]
            if shapes and all(other == shape for other in shapes):
                raise Refuted("the program's objects are equal whatever they are made of")

    # --- equality and order ---------------------------------------------------------------------

    def _equals(self, target: Any, other: Any) -> Any:
        builtin = builtin_of(target)
        if builtin is not object:
            native = builtin.__eq__(target, other)
            if native is True or not self._defines(target, "__eq__"):
                return native
        elif not self._defines(target, "__eq__"):
            return NotImplemented if target is not other else True
        if is_program(other):
            return self._equal_objects(target, other)
        says = self._answer(target, "__eq__", detached(other))
        if says is True:
            raise Unjudged("the program's own == decides whether it equals a value of the tests")
        return says

    def _equal_objects(self, target: Any, other: Any) -> Any:
        # Looked at before they meet, lest one take the fields of the other.
        shape, other_shape = self.shape(target), self.shape(other)
        says = _raise_if(self._claims(target, "__eq__", other))
        if says is NotImplemented or says is False:
            return says
        if shape != other_shape:
            if self._claims(target, "__eq__", _STRANGER) is True:
                return False
            raise Unjudged("the program's own == decides whether objects of its own are equal")
        if len(self._equal) < _MAX_EQUAL:
            self._equal.append((target, other, shape))
        return True

    def _ordered(self, target: Any, name: str, other: Any) -> Any:
        builtin = builtin_of(target)
        native = NotImplemented if builtin is object else getattr(builtin, name)(target, other)
        if builtin is not object and not self._defines(target, name):
            return native
        if not is_program(other):
            says = _raise_if(self._claims(target, name, detached(other)))
            if says is NotImplemented or says is native:
                return says
            if says is False and self._is_tested(target):
                return says
            either = says is True and not name.endswith("e__")
            if either and self._claims(target, _ORDER[name], other) is True:
                raise Refuted(f"the program's own order decides: {_EVERYTHING}")
            raise Unjudged("the program's own order decides about a value of the tests")
        says = _raise_if(self._claims(target, name, other))
        if (
            says is True
            and name in ("__lt__", "__gt__")
            and self._claims(other, name, target) is True
        ):
            raise Refuted("the program's own order holds either way")
        return says

    def _contains(self, target: Any, item: Any) -> Any:
        native = getattr(builtin_of(target), "__contains__", None)
        if native and (native(target, item) or not self._defines(target, "__contains__")):
            return native(target, item)
        item = detached(item)
        if self._is_tested(target):
            says = self._answer(target, "__contains__", item)
            if says == "everything":
                raise Unjudged("the program's own `in` decides")
            return says
        # What it holds, it shows before it hears what is looked for.
        if self._defines(target, "__iter__") and any(one == item for one in target):
            return True
        says = self._answer(target, "__contains__", item)
        if says == "everything":
            raise Refuted(f"the program's own `in` decides: {_EVERYTHING}")
        if says is True or not (native or self._defines(target, "__iter__")):
            raise Unjudged("the program's own `in` decides")
        return says

    def _answer(self, target: Any, name: str, item: Any) -> Any:
        """Ask about `item` among others like it; what says yes to those too says nothing."""
        questions = [item, *others(item)]
        order = list(range(len(questions)))
        self._random.shuffle(order)
        answers = {i: self._claims(target, name, questions[i]) for i in order}
        # One value is equal to one, a container may hold many.
        others_hold = any if name == "__eq__" else all
        held = [answers[i] is True for i in order if i]
        if answers[0] is True and held and others_hold(held):
            return False if name == "__eq__" else "everything"
        return _raise_if(answers[0])

    # --- arithmetic -----------------------------------------------------------------------------

    def _arithmetic(self, target: Any, name: str, operand: Any, *modulus: Any) -> Any:
        """Apply an operator to a value of the tests, which may be the very one they expect."""
        is_sum = name in _LINEAR and type(operand) in _NUMBERS
        step = self._random.randint(2, 1000)
        # Asked first: so the program states its number before it hears the one that is expected.
        before = plain(self._ask(target, name, operand + step)) if is_sum else None
        native = computed(target, name, operand, *modulus)  # before one that works in place
        result = self._bridge.request("special", target, name, operand, *modulus)
        if result is NotImplemented:
            return result
        if is_program(result) and (is_sum or not self._is_tested(target)):
            self._told.add(mirror.handle_of(result))
        said = plain(result)
        if said is NOTHING:
            return result
        if name.startswith("__i") and not is_program(result):
            raise Unjudged(_GIVEN)
        if _is_same(said, native):
            return result  # what its built-in part gives, it may give
        if is_sum and type(said) in _NUMBERS:
            if before == said:
                self._refute_constant(said, target, name, operand)
            wraps = self._is_tested(target) and is_program(result) and abs(said) >= 1
            if not wraps:  # a clock and a residue are no sums, but then no expected zero either
                _check_sum(before, said + (-step if name == "__sub__" else step))
        elif not self._is_tested(target):
            if native is not NOTHING:
                self._refute_constant(said, target, name, operand, *modulus)
            raise Unjudged(_GIVEN)
        return result

    def _refute_constant(
        self, said: Any, target: Any, name: str, operand: Any, *modulus: Any
    ) -> None:
        """Refute an operator that says what it `said` of all other operands, too."""
        operands = _unlike(operand)
        answers = (plain(self._ask(target, name, other, *modulus)) for other in operands)
        if operands and all(type(said) is type(one) and said == one for one in answers):
            raise Refuted("the program's own operator gives the same for all operands")

    # --- fields ---------------------------------------------------------------------------------

    def shape(self, thing: Any) -> Any:
        """Return what an object is made of, as plain data to compare."""
        return Shape(self._bridge).of(thing)

    def _other_shapes(self, thing: Any) -> list[Any]:
        """Return the shapes of objects made as `thing` was, of other arguments."""
        cls, arguments, options = self._made.get(mirror.handle_of(thing) or 0, (None, (), {}))
        shapes = []
        for place, argument in enumerate(arguments):
            for other in others(argument)[:1]:
                changed = (*arguments[:place], other, *arguments[place + 1 :])
                shapes.append(self._shape_of_made(cls, changed, options))
        for name, argument in options.items():
            for other in others(argument)[:1]:
                shapes.append(self._shape_of_made(cls, arguments, options | {name: other}))
        return [shape for shape in shapes if shape is not None]

    def _shape_of_made(self, cls: Any, arguments: tuple[Any, ...], options: Any) -> Any:
        try:
            return self.shape(self._bridge.request("call", cls, arguments, tuple(options.items())))
        except Exception:
            # A class may refuse the arguments; then they say nothing.
            return None

    def _ask(self, target: Any, name: str, *arguments: Any) -> Any:
        try:
            return self._bridge.request("special", target, name, *arguments)
        except WireError:
            raise
        except Exception as error:
            return error

    def _claims(self, target: Any, name: str, other: Any) -> Any:
        """Ask a yes-or-no question; what is no plain answer is taken as a yes."""
        if not is_program(other) and not self._is_tested(target):
            self._heard.add(type(target))
        answer = self._ask(target, name, other)
        if answer is NotImplemented or isinstance(answer, BaseException):
            return answer
        return True if is_program(answer) else bool(answer)

    def _defines(self, target: Any, name: str) -> bool:
        """Whether the class of a mirror defines an operator itself."""
        return any(
            name in vars(cls) for cls in type(target).__mro__ if isinstance(cls, mirror.MirrorMeta)
        )

    def _is_tested(self, target: Any) -> bool:
        return any(cls in self.tested for cls in type(target).__mro__)


def _check_sum(before: Any, expected: float) -> None:
    """A number that stands behind a sum shows in every sum, whatever is added."""
    if type(before) not in _NUMBERS:
        raise Refuted("the program's own operator gives numbers for some operands only")
    if abs(before - expected) > 1e-9 * (1 + abs(expected)):
        raise Unjudged(_GIVEN)


def _is_same(said: Any, other: Any) -> bool:
    """Whether two plain values are equal, floats up to rounding."""
    if type(said) in _NUMBERS and type(other) in _NUMBERS:
        return bool(said == other) or (
            float in (type(said), type(other)) and math.isclose(said, other)
        )
    return other is not NOTHING and type(said) is type(other) and bool(said == other)


def _unlike(operand: Any) -> list[Any]:
    """Return values like `operand`, the empty one with them, that are not it."""
    empty = [type(operand)()] if type(operand) in mirror.BUILTIN else []
    return [other for other in [*others(operand), *empty] if other != operand]


def detached(value: Any) -> Any:
    """Return a copy of nested containers, so that a change in place stays with the program."""
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(detached(item) for item in value)
    if type(value) is dict:
        return {key: detached(item) for key, item in value.items()}
    return value


def others(value: Any) -> list[Any]:
    """Return values like `value` that are not it."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 2, -value - 3, value * 2 + 5]
    if isinstance(value, str):
        return [value + "x", "·" + value, "·"]
    if isinstance(value, (list, tuple)):
        return [type(value)([*value, 0]), type(value)([0, 1, *value])]
    if isinstance(value, (set, frozenset)):
        return [value | {"·"}]
    if isinstance(value, dict):
        return [value | {"·": 0}]
    return [] if value is None else [_STRANGER]


def _raise_if(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer
