"""Form bodies, field by field."""

from __future__ import annotations

import pytest

from ekiben.exceptions import BadInput
from ekiben.io.forms import FormField, parse_form

TEXT, ANY, LIST = FormField(True, False), FormField(False, False), FormField(False, True)
FIELDS = {"text": TEXT, "n": ANY, "many": LIST}
URLENCODED = "application/x-www-form-urlencoded"


def test_text_stays_text_and_the_rest_is_json() -> None:
    assert parse_form(b"text=123&n=123&other=true", URLENCODED, FIELDS) == {"text": "123", "n": 123, "other": True}
    assert parse_form(b"n=abc&text=", URLENCODED, FIELDS) == {"n": "abc", "text": ""}
    assert parse_form(b"text=a%20b+c%C3%A4", URLENCODED, FIELDS) == {"text": "a b cä"}


def test_repeated_fields() -> None:
    assert parse_form(b"many=1&many=2&n=1&n=2", URLENCODED, FIELDS) == {"many": [1, 2], "n": 2}
    assert parse_form(b"many=[1,2]", URLENCODED, FIELDS) == {"many": [1, 2]}


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "string"}, TEXT),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, TEXT),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, ANY),
        ({"type": "array"}, LIST),
        ({"type": "tensor"}, ANY),
        ({}, ANY),
    ],
)
def test_fields_follow_their_schema(schema: dict[str, object], field: FormField) -> None:
    assert FormField.of(schema) == field


MULTIPART = 'multipart/form-data; boundary="a; b"'


def part(disposition: str, content: str) -> bytes:
    return f"--a; b\r\nContent-Type: text/plain\r\ncontent-disposition: {disposition}\r\n\r\n{content}\r\n".encode()


def test_multipart() -> None:
    body = (
        b"preamble\r\n"
        + part('form-data; name="text"', "1\r\n--a;\r\n2")
        + part('form-data; filename="x;y.json"; name="n"', "[1]")
        + part("form-data; name=many", "5")
        + b"--a; b--\r\nepilogue"
    )
    assert parse_form(body, MULTIPART, FIELDS) == {"text": "1\r\n--a;\r\n2", "n": [1], "many": 5}
    assert parse_form(b"--a; b--", MULTIPART, FIELDS) == {}


def test_quoted_names() -> None:
    body = part('form-data; name="a \\"b\\" c"', "x") + b"--a; b--"
    assert parse_form(body, MULTIPART, {}) == {'a "b" c': "x"}


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b"x", "multipart/form-data", "has no boundary"),
        (b"x", MULTIPART, "its boundary does not occur"),
        (part('form-data; name="text"', "x"), MULTIPART, "closing boundary is missing"),
        (b"--a; b\r\nX: y\r\n\r\nz\r\n--a; b--", MULTIPART, "a part without a name"),
        (b'--a; b\r\ncontent-disposition: form-data; name="x"\r\n--a; b--', MULTIPART, "a part without a name"),
    ],
)
def test_malformed_bodies_are_the_clients_fault(body: bytes, content_type: str, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        parse_form(body, content_type, FIELDS)


def test_bytes_that_are_no_text_stay_bytes() -> None:
    assert parse_form(b"text=%ff", URLENCODED, FIELDS) == {"text": b"\xff"}
