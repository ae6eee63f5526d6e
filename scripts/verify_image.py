#!/usr/bin/env python3
"""Checks an image in an OCI archive, independently of ekiben: every size, digest and layer.

Usage: verify_image.py ARCHIVE

Needs nothing but Python 3. Prints a line for each layer; exits with 1 at the first thing that is not as
another part of the image says.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile

CHUNK = 1 << 20
GZIP = "+gzip"
ZSTD = "+zstd"


class Broken(Exception):
    """Something in the archive is not what another part says it is."""


def digest_of(stream) -> tuple[str, int]:
    """Hash a stream to its end; return its digest and its size."""
    hasher, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
        size += len(chunk)
    return f"sha256:{hasher.hexdigest()}", size


class Archive:
    """The blobs of an OCI archive."""

    def __init__(self, path: str):
        self.tar = tarfile.open(path)

    def open(self, name: str) -> io.BufferedReader:
        """Open a member."""
        member = self.tar.extractfile(name)
        if member is None:
            raise Broken(f"`{name}` is no file")
        return member

    def blob(self, descriptor: dict) -> io.BufferedReader:
        """Open the blob of a descriptor, after comparing its digest and size."""
        algorithm, value = descriptor["digest"].split(":")
        name = f"blobs/{algorithm}/{value}"
        found = digest_of(self.open(name))
        if found != (descriptor["digest"], descriptor["size"]):
            raise Broken(
                f"`{name}` is {found}, its descriptor says {descriptor['digest'], descriptor['size']}"
            )
        return self.open(name)

    def document(self, descriptor: dict) -> dict:
        """Read the JSON document of a descriptor."""
        return json.load(self.blob(descriptor))


def verify(path: str) -> None:
    """Check the archive's only image."""
    archive = Archive(path)
    if json.load(archive.open("oci-layout"))["imageLayoutVersion"] != "1.0.0":
        raise Broken("`oci-layout` is of another version")
    (descriptor,) = json.load(archive.open("index.json"))["manifests"]
    manifest = archive.document(descriptor)
    config = archive.document(manifest["config"])
    layers, diff_ids = manifest["layers"], config["rootfs"]["diff_ids"]
    if len(layers) != len(diff_ids):
        raise Broken(f"{len(layers)} layers, but {len(diff_ids)} diff IDs")
    titles = [
        entry.get("created_by", "") for entry in config.get("history", []) if not entry.get("empty_layer")
    ]
    unpacked = 0
    for layer, diff_id, title in zip(layers, diff_ids, titles or [""] * len(layers)):
        blob = archive.blob(layer)
        if layer["mediaType"].endswith(ZSTD):
            print(f"  {layer['size']:>11}  {title} (zstd: contents not read)")
            continue
        contents = gzip.open(blob) if layer["mediaType"].endswith(GZIP) else blob
        found, size = digest_of(contents)
        if found != diff_id:
            raise Broken(f"the layer `{title}` unpacks to {found}, the configuration says {diff_id}")
        unpacked += size
        print(f"  {layer['size']:>11}  {title}")
    sizes = f"{sum(layer['size'] for layer in layers) / 1e6:.1f} MB, {unpacked / 1e6:.1f} MB unpacked"
    print(f"{descriptor['digest']}: {len(layers)} layers, {sizes}")


def main() -> int:
    """Check the archive named on the command line."""
    if len(sys.argv) != 2:
        print("usage: verify_image.py ARCHIVE", file=sys.stderr)
        return 2
    try:
        verify(sys.argv[1])
    except (Broken, OSError, KeyError, ValueError, tarfile.TarError) as error:
        print(f"error: `{sys.argv[1]}` is no sound image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
