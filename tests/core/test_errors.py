"""An error class is its wire meaning: the tree in the docstring is the tree in the code.

Method: read the docstring as the table it is, and walk the classes.
"""

import re

import pytest

from faregate.core import errors
from faregate.core.errors import GatewayError, Refused, Unavailable

ROW = re.compile(r"^\s+- (\w+)\s+(\d{3}) (\w+)\s+([\w* |]+)$", re.MULTILINE)


def leaves() -> list[type[GatewayError]]:
    return [leaf for branch in (Refused, Unavailable) for leaf in branch.__subclasses__()]


def test_the_documented_tree_is_the_tree() -> None:
    assert errors.__doc__ is not None
    documented = {name: (int(status), kind) for name, status, kind, _ in ROW.findall(errors.__doc__)}

    assert documented == {leaf.__name__: (leaf.status, leaf.kind) for leaf in leaves()}


def test_each_default_code_is_among_those_documented() -> None:
    assert errors.__doc__ is not None
    # A class with many codes has more than one line.
    rows = [(name, codes.replace("*", "").split(" | ")) for name, _, _, codes in ROW.findall(errors.__doc__)]

    for leaf in leaves():
        assert any(leaf.code.startswith(code) for name, codes in rows if name == leaf.__name__ for code in codes), leaf


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: str(leaf.__name__))
def test_what_the_caller_must_change_is_not_to_be_repeated_and_the_rest_may_be(leaf: type[GatewayError]) -> None:
    assert leaf("words").should_retry is issubclass(leaf, Unavailable)


def test_an_instance_may_be_finer_than_its_class_and_leaves_the_class_alone() -> None:
    error = errors.PaymentRequired("words", code="quota_exceeded", details={"a": 1}, retry_after_s=2, should_retry=True)

    assert (error.code, dict(error.details), error.retry_after_s, error.should_retry) == (
        "quota_exceeded",
        {"a": 1},
        2,
        True,
    )
    assert errors.PaymentRequired("words").code == "insufficient_credits"
    assert str(error) == error.message == "words"


@pytest.mark.parametrize("branch", [GatewayError, Refused, Unavailable])
def test_a_branch_without_a_meaning_cannot_be_raised(branch: type[GatewayError]) -> None:
    with pytest.raises(AssertionError, match="raise a leaf"):
        branch("words")
