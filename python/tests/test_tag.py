"""Tags."""

from __future__ import annotations

import logging
import re

import pytest

from ekiben.exceptions import BentoMLException
from ekiben.tag import Tag


@pytest.mark.parametrize("text", ["a", "a:1", "my_model:v1.0-rc", "0", "a" * 63 + ":" + "b" * 63])
def test_text_form_is_kept(text: str) -> None:
    assert str(Tag.from_str(text)) == text


def test_upper_case_is_lowered_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Tag.from_str("My:V1") == Tag("my", "v1")
    assert "[bentoml] Converting 'My' to lowercase: 'my'." in caplog.messages


@pytest.mark.parametrize("name", ["a/b", "1.0+x", "é", "a b", "_a", "a-", "", "a\n"])
def test_bad_characters(name: str) -> None:
    with pytest.raises(ValueError, match="must consist of lowercase alphanumeric"):
        Tag(name)


def test_both_defects_are_named() -> None:
    with pytest.raises(ValueError) as raised:
        Tag("é" * 64)
    assert str(raised.value) == (
        f"{'é' * 64} is not a valid BentoML tag: a tag's name or version must be at most 63 characters in length, "
        "and a tag's name or version must consist of lowercase alphanumeric characters, '_', '-', or '.', and must "
        "start and end with an alphanumeric character"
    )


def test_bad_parts_and_trailing_colon() -> None:
    with pytest.raises(BentoMLException, match="^Invalid Tag a:b:c$"):
        Tag.from_str("a:b:c")
    with pytest.raises(BentoMLException, match="^a: contains trailing ':'. Maybe you meant to use `a:latest`\\?$"):
        Tag.from_str("a:")


def test_new_versions_have_upstreams_shape_and_differ() -> None:
    versions = {str(Tag("a").make_new_version().version) for _ in range(100)}
    assert len(versions) == 100
    assert all(re.fullmatch("[a-z2-7]{16}", version) for version in versions)
    with pytest.raises(ValueError, match="already has a version"):
        Tag("a", "1").make_new_version()


def test_order() -> None:
    texts = ["a", "a:10", "a:2", "b", "b:1"]
    assert [str(tag) for tag in sorted(Tag.from_str(text) for text in reversed(texts))] == texts
    assert len({Tag("a", "1"), Tag.from_str("a:1"), Tag("a")}) == 2
