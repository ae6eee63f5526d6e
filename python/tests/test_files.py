"""Files and images as values: what clients send, what APIs return."""

from __future__ import annotations

import io
import os
import sys
import typing as t
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import Parameter as P
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Annotated

import pandas as pd
import PIL.Image
import pytest

from ekiben.context import Context, Request, Response
from ekiben.exceptions import BadInput
from ekiben.io import downloads
from ekiben.io.downloads import SWITCH, download, is_public, url_in
from ekiben.io.files import MAP_ABOVE, FileSchema, file_body
from ekiben.io.images import PILImageEncoder, has_broken_image
from ekiben.io.inputs import InvalidInput, ObjectInput, Parameter, RootInput
from ekiben.io.outputs import output_of
from ekiben.io.uploads import Upload
from ekiben.io.validators import DType, Shape

MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture
def request_() -> Iterator[Request]:
    """Make a request the current one, as it is during a call."""
    request = Request()
    Context.enter(request, Response())
    yield request
    request.close()


def png(size: tuple[int, int] = (2, 3)) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, (1, 2, 3)).save(buffer, format="PNG")
    return buffer.getvalue()


def part(name: str, content: bytes, filename: str | None = None, media_type: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    kind = "" if media_type is None else f"Content-Type: {media_type}\r\n"
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def takes(annotation: t.Any, default: t.Any = P.empty) -> ObjectInput:
    return ObjectInput.of([Parameter("f", annotation, default, P.POSITIONAL_OR_KEYWORD)], __name__)


def decode(spec: t.Any, *parts: bytes) -> t.Any:
    args, kwargs = spec.decode(form(*parts), "multipart/form-data", MULTIPART)
    return args[0] if args else kwargs["f"]


# paths


def test_a_file_lies_in_the_directory_of_the_request(request_: Request) -> None:
    path = decode(takes(Path), part("f", b"\x00hello", "notes.txt", "text/plain"))
    assert (path.read_bytes(), path.parent) == (b"\x00hello", Path(request_.temp_dir()))
    assert path.name.endswith("notes.txt")
    request_.close()
    assert not path.parent.exists()
    with pytest.raises(RuntimeError, match="the request is over"):
        request_.temp_dir()


@pytest.mark.parametrize(
    ("filename", "end"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\dir\\\\a.txt", "a.txt"),
        ("a\x00b\nc", "abc"),
        ("x" * 300 + ".wav", "x.wav"),
        ("ä" * 300, "ä"),
        ("..", ".."),
        ("", ""),
    ],
)
def test_names_of_clients_are_names_alone(request_: Request, filename: str, end: str) -> None:
    path = FileSchema().decode(Upload(b"", filename))
    assert path.parent == Path(request_.temp_dir())
    assert path.name.endswith(end)
    assert "/" not in path.name[3:]
    assert path.exists()


def test_extended_names(request_: Request) -> None:
    head = (
        b"--b\r\nContent-Disposition: form-data; name=f; filename=x; filename*=utf-8''gr%C3%BC%C3%9Fe.txt\r\n\r\n1\r\n"
    )
    assert decode(takes(Path), head).name.endswith("grüße.txt")


def test_types_of_files(request_: Request) -> None:
    audio = takes(Annotated[Path, FileSchema(content_type="audio/*")])
    assert decode(audio, part("f", b"1", "a.mp3", "Audio/MPEG; codecs=x")).exists()
    with pytest.raises(InvalidInput) as error:
        decode(audio, part("f", b"1", "a.txt", "text/plain"))
    assert error.value.details[0]["msg"] == "Value error, Invalid content type text/plain, expected audio/*"
    with pytest.raises(InvalidInput) as error:
        takes(Path).decode(b'{"f": "/etc/passwd"}', "application/json", "")
    assert error.value.details == [{"type": "path_type", "loc": ("f",), "msg": "Invalid file type"}]


def test_lists_and_absent_files(request_: Request) -> None:
    files = decode(takes(t.List[Path]), part("f", b"1", "a"), part("f", b"2", "b"))
    assert [file.read_bytes() for file in files] == [b"1", b"2"]
    assert len(decode(takes(t.List[Path]), part("f", b"1", "a"))) == 1
    optional = takes(t.Optional[t.List[Path]], None)
    assert optional.decode(b"{}", "application/json", "")[1] == {"f": None}
    assert decode(optional, part("f", b"1", "a"))[0].read_bytes() == b"1"
    assert optional.takes_files
    assert not takes(t.List[str]).takes_files


@pytest.mark.parametrize("annotation", [Path, t.Optional[Path]])
def test_root_files(request_: Request, annotation: t.Any) -> None:
    root = RootInput(annotation)
    (path,), _ = root.decode(b"\xff", "application/json", "")
    assert path.read_bytes() == b"\xff"
    (path,), _ = root.decode(b"a=1", "application/x-www-form-urlencoded", "")
    assert path.read_bytes() == b"a=1"
    path = decode(root, part("note", b"text"), part("any", b"1", "a.txt"))
    assert (path.read_bytes(), path.name[-5:]) == (b"1", "a.txt")
    assert decode(RootInput(t.List[Path]), part("x", b"1", "a"), part("y", b"2", "b"))[1].read_bytes() == b"2"


def test_a_root_form_without_a_part_is_the_clients_fault(request_: Request) -> None:
    with pytest.raises(InvalidInput):
        decode(RootInput(Path))


# images


def test_images_are_opened(request_: Request) -> None:
    image = decode(takes(PIL.Image.Image), part("f", png(), "a", "image/png"))
    assert (image.format, image.size) == ("PNG", (2, 3))
    (image,), _ = RootInput(PIL.Image.Image).decode(png(), "image/png", "image/png")
    assert image.convert("RGB").getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("media_type", ["image/png", "image/x-png", "image/unknown", "application/octet-stream", None])
def test_the_media_type_chooses_the_decoder(media_type: str | None) -> None:
    assert PILImageEncoder().decode(Upload(png(), None, media_type)).format == "PNG"


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jpg", "image/gif"])
def test_an_image_of_another_type_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidInput) as error:
        decode(takes(PIL.Image.Image), part("f", png(), "a", media_type))
    assert error.value.details[0]["msg"] == f"Input is not an image of type {media_type}"


def test_bombs_are_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(InvalidInput):
        decode(takes(PIL.Image.Image), part("f", png(), "a", "image/png"))


def test_broken_images_are_told_from_closed_ones() -> None:
    broken = PIL.Image.open(io.BytesIO(png()[:-30]))
    whole, closed = PIL.Image.open(io.BytesIO(png())), PIL.Image.open(io.BytesIO(png()))
    closed.close()
    assert has_broken_image([1, [whole, broken]])
    assert not has_broken_image([whole, closed, "text", [closed]])


# outputs


def test_a_large_file_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * (MAP_ABOVE + 1))
    headers, body = file_body(path, "application/octet-stream") or ([], b"")
    assert isinstance(body, memoryview)
    path.unlink()
    assert bytes(body) == b"x" * (MAP_ABOVE + 1)
    assert dict(headers)["content-disposition"] == 'attachment; filename="large.bin"'


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        output_of(Path).render(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is no file"):
        output_of(Path).render(pipe)


def test_series() -> None:
    spec = takes(pd.Series)
    assert spec.decode(b'{"f": [1, 2]}', "application/json", "")[1]["f"].tolist() == [1, 2]
    with pytest.raises(InvalidInput):
        spec.decode(b'{"f": 1}', "application/json", "")
    assert output_of(pd.Series).render(pd.Series([1.5, 2])).body == b"[1.5, 2.0]"


# URLs


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(ip_address(address)) is expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (b"http://a/b", "http://a/b"),
        (b' "HTTPS://a" \n', "HTTPS://a"),
        (b"file:///etc/passwd", None),
        (b"http://a b", None),
        (b"http://a\nhttp://b", None),
        (b"\xffhttp://a", None),
        (b"http://" + b"a" * 9000, None),
        (b"", None),
    ],
)
def test_urls_are_told_from_text(text: bytes, url: str | None) -> None:
    assert url_in(text) == url


class Files(BaseHTTPRequestHandler):
    """Serves a file, redirects to it, and a body that breaks off."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("location", self.path[4:])
            self.end_headers()
            return
        if self.path.startswith("/gone"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("content-type", "image/png; x=y")
        self.send_header("content-length", str(len(png()) + (5 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_private_addresses_are_refused(server: str) -> None:
    port = server.rpartition(":")[2]
    for url in (server, f"http://localhost:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", f"http://0:{port}/"):
        with pytest.raises(BadInput, match="Connection blocked due to insecure input URL"):
            download(url)


def test_a_redirect_is_no_way_around_the_guard(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(downloads, "is_public", lambda address: asked.append(str(address)) or len(asked) == 1)
    with pytest.raises(BadInput, match="insecure input URL"):
        download(f"{server}/to/{server}/x")
    assert asked == ["127.0.0.1", "127.0.0.1"]


def test_urls_are_downloaded_where_that_is_allowed(
    server: str, monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    monkeypatch.setenv(SWITCH, "any")
    upload = download(f"{server}/to/{server}/dir/a%20b.png?x")
    assert (upload.open().read(), upload.filename, upload.media_type) == (png(), "a b.png", "image/png")
    path = decode(takes(Path), part("f", f"'{server}/a.png'".encode()))
    assert (path.read_bytes(), path.name[-5:]) == (png(), "a.png")
    (image,), _ = RootInput(PIL.Image.Image).decode(f"{server}/a.png".encode(), "text/plain", "")
    assert image.size == (2, 3)
    for path, error in (("/gone", "answered 404"), ("/cut", "broke off"), ("/to/file:///etc/passwd", "Failed")):
        with pytest.raises(BadInput, match=error):
            download(server + path)


def test_downloads_have_limits(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "any")
    monkeypatch.setattr(downloads, "MAX_BYTES", 10)
    with pytest.raises(BadInput, match="larger than 10 bytes"):
        download(server)
    monkeypatch.setattr(downloads, "TOTAL_SECONDS", -1.0)
    monkeypatch.setattr(downloads, "MAX_BYTES", 1000)
    with pytest.raises(BadInput, match="takes longer"):
        download(server)
    monkeypatch.setenv(SWITCH, "off")
    with pytest.raises(BadInput, match="turned off"):
        download(server)


# tensors of a library that is too large for the tests: a stand-in has what is used of it


def test_tensors_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        def __init__(self, value: t.Any, dtype: t.Any, shape: t.Any):
            if value == "bad":
                raise KeyError("an error of its own")
            self.facts = (value, dtype, shape)

        def numpy(self) -> t.Any:
            return pd.Series(self.facts[0])

    library = ModuleType("tensorflow")
    Tensor.__module__ = "tensorflow.python.framework.tensor"
    library.Tensor = Tensor  # type: ignore[attr-defined]
    library.as_dtype = lambda name: f"tf.{name}"  # type: ignore[attr-defined]
    library.constant = lambda value, dtype, shape: Tensor(value, dtype, shape)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorflow", library)
    spec = takes(Annotated[Tensor, Shape((2,)), DType("float32")])
    tensor = spec.decode(b'{"f": [1, 2]}', "application/json", "")[1]["f"]
    assert tensor.facts == ([1, 2], "tf.float32", (2,))
    assert spec.schema()["properties"]["f"]["format"] == "tf-tensor"
    with pytest.raises(InvalidInput):
        spec.decode(b'{"f": "bad"}', "application/json", "")
    assert output_of(Tensor).render(tensor).body == b"[1, 2]"
