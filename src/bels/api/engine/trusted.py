"""Trusted documents: the manifests that the compilers of front ends write, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from re import compile as pattern

import msgspec

from bels.api.engine.answers import TRUSTED_CHARACTERS_MAX
from bels.api.engine.documents import Schema
from bels.api.engine.operations import RequestError

MANIFEST_MAX = 20_000_000
"""Bytes of a manifest."""

_NAME = pattern(r"(?:(sha256|sha1|md5):)?([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})")
_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64}
_MANIFEST = msgspec.json.Decoder(dict[str, str])


class ManifestError(ValueError):
    """A manifest cannot be used; the sentence is for the operator."""


def read_manifest(text: str | bytes) -> dict[str, str]:
    """Read a manifest ``{hash: document}`` and give its documents by id.

    It may be graphql-codegen's ``persisted-documents.json`` (SHA-1 or SHA-256, with or without ``sha256:``) or that of
    relay-compiler (MD5, or whichever it was told). Every document is known by the id that its client has, and by
    ``sha256:`` with its digest, which is worked out here.

    :raises ManifestError: it is no manifest, or a SHA-256 is not that of its document.
    """
    if len(text) > MANIFEST_MAX:
        raise ManifestError(f"a manifest may have {MANIFEST_MAX} bytes")
    try:
        given = _MANIFEST.decode(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"a manifest is a JSON object of documents by their hash: {error}") from None
    found: dict[str, str] = {}
    for name, document in given.items():
        known = _NAME.fullmatch(name.lower())
        if known is None or (known[1] is not None and len(known[2]) != _LENGTHS[known[1]]):
            raise ManifestError(f"{name[:80]!a} is no MD5, SHA-1 or SHA-256")
        digest = sha256(document.encode()).hexdigest()
        if len(known[2]) == _LENGTHS["sha256"] and known[2] != digest:
            raise ManifestError(f"the document under {name!a} has the hash {digest}: it was changed")
        found[name] = document
        found[f"sha256:{digest}"] = document
    return found


def check_manifest(schema: Schema, documents: Mapping[str, str]) -> dict[str, str]:
    """Say which documents may not run under this schema, and why; a client that has one of them would find out too late."""
    faults: dict[str, str] = {}
    for name, text in documents.items():
        try:
            schema.documents.read(text, TRUSTED_CHARACTERS_MAX)
        except RequestError as refusal:
            faults[name] = refusal.errors[0].message
    return faults
