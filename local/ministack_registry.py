"""MiniStack's container registry as this repository needs it.

Three things are as on ECR, and not as in MiniStack:
- a request needs a token of GetAuthorizationToken, and may do what whoever asked for the token may do;
- the token is for an address that an engine on this machine reaches;
- layers are files: MiniStack keeps them in memory, and writes all of them into its state file with every save.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ministack.core import iam_evaluator, responses, router
from ministack.services import ecr

LIFETIME = 12 * 3600
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The right that ECR asks for, by kind of request and method.
ACTIONS = {
    ("blob", "HEAD"): "BatchCheckLayerAvailability",
    ("blob", "GET"): "GetDownloadUrlForLayer",
    ("blob_uploads", "POST"): "InitiateLayerUpload",
    ("blob_upload_session", "GET"): "UploadLayerPart",
    ("blob_upload_session", "PATCH"): "UploadLayerPart",
    ("blob_upload_session", "PUT"): "CompleteLayerUpload",
    ("manifest", "HEAD"): "BatchGetImage",
    ("manifest", "GET"): "BatchGetImage",
    ("manifest", "PUT"): "PutImage",
    ("manifest", "DELETE"): "BatchDeleteImage",
    ("tags_list", "GET"): "ListImages",
}


class Layers(MutableMapping[str, bytes]):
    """The layers of one repository, by digest: a file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, digest: object) -> Path:
        # It comes from a URL and becomes a path.
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise KeyError(digest)
        return self.folder / digest.removeprefix("sha256:")

    def __getitem__(self, digest: str) -> bytes:
        try:
            return self._file(digest).read_bytes()
        except FileNotFoundError:
            raise KeyError(digest) from None

    def __contains__(self, digest: object) -> bool:
        try:
            return self._file(digest).exists()
        except KeyError:
            return False

    def __setitem__(self, digest: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as out:
            out.write(content)
        os.replace(out.name, self._file(digest))

    def __delitem__(self, digest: str) -> None:
        self._file(digest).unlink()

    def __iter__(self) -> Iterator[str]:
        found = self.folder.glob("[0-9a-f]*") if self.folder.exists() else ()
        return (f"sha256:{path.name}" for path in found)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Store:
    """The layers of all repositories, below `root`; stands where MiniStack has a dictionary of dictionaries."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, repository: str, default: object = None) -> Layers:
        """The repository's layers."""
        return Layers(self.root / f"repository-{quote(repository, safe='')}")

    setdefault = get

    def drop(self, repository: str) -> None:
        """Remove the repository's layers."""
        shutil.rmtree(self.get(repository).folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove all layers."""
        shutil.rmtree(self.root, ignore_errors=True)

    def update(self, other: object) -> None:
        """Take nothing from a saved state: the files are the state."""

    def __deepcopy__(self, memo: object) -> Any:
        """What goes into the saved state: nothing."""
        return responses.AccountRegionScopedDict()


class Logins:
    """The tokens that were given out."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, float]] = {}

    def give(self, access_key: str) -> tuple[str, float]:
        """A token for whoever has `access_key`, and when it ends (seconds since the epoch)."""
        now = time.time()
        self._keys = {token: (key, until) for token, (key, until) in self._keys.items() if until > now}
        token = secrets.token_urlsafe(48)
        self._keys[token] = (access_key, now + LIFETIME)
        return token, now + LIFETIME

    def access_key(self, authorization: str) -> str | None:
        """Whose token is in a Basic Authorization header, or None."""
        scheme, _, coded = authorization.partition(" ")
        try:
            user, _, token = base64.b64decode(coded, validate=True).decode().partition(":")
        except ValueError:
            return None
        key, until = self._keys.get(token, ("", 0.0))
        return key if scheme.lower() == "basic" and user == "AWS" and until > time.time() else None


def fill(root: Path, endpoint: str) -> None:
    """Patch the service in place, with layers below `root` and `endpoint` as the registry's address."""
    store, logins = Store(root), Logins()
    ecr._layer_blobs = store
    serve_api, serve_registry, delete = ecr.handle_request, ecr.handle_registry_request, ecr._delete_repository

    async def handle_request(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if not headers.get("x-amz-target", "").endswith(".GetAuthorizationToken"):
            return await serve_api(method, path, headers, body, query)
        token, until = logins.give(router.extract_access_key_id(headers, query))
        login = {
            "authorizationToken": base64.b64encode(f"AWS:{token}".encode()).decode(),
            "expiresAt": int(until),
            "proxyEndpoint": endpoint,
        }
        return responses.json_response({"authorizationData": [login]})

    async def handle_registry_request(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        key = logins.access_key(headers.get("authorization", ""))
        if key is None:
            answer = ecr._registry_error(401, "UNAUTHORIZED", "Not Authorized")
            answer[1]["Www-Authenticate"] = f'Basic realm="{endpoint}/",service="ecr.amazonaws.com"'
            return answer
        refusal = denial(key, method.upper(), path, headers, query)
        if refusal:
            return ecr._registry_error(403, "DENIED", refusal)
        return await serve_registry(method, path, headers, body, query)

    def delete_repository(data: dict[str, Any]) -> Any:
        answer = delete(data)
        if answer[0] == 200:
            store.drop(json.loads(answer[2])["repository"]["repositoryName"])
        return answer

    ecr.handle_request = handle_request
    ecr.handle_registry_request = handle_registry_request
    ecr._delete_repository = delete_repository


def denial(access_key: str, method: str, path: str, headers: dict[str, str], query: Any) -> str:
    """Why the holder of `access_key` may not make this request, or "" if it may."""
    verb, repository, _ = ecr._parse_v2_path(path) or ("", "", "")
    if verb == "ping":
        return ""
    if (verb, method) not in ACTIONS:
        return f"{method} {path} is nothing that ECR does"
    ecr._select_registry_request_scope(repository, headers, query)
    action = f"ecr:{ACTIONS[verb, method]}"
    resource = f"arn:aws:ecr:{responses.get_region()}:{responses.get_account_id()}:repository/{repository}"
    # This request is not signed: the token says who sent it.
    iam_evaluator._signed_request.set(None)
    iam_evaluator._anonymous.set(False)
    refused = iam_evaluator.enforce(access_key, action, "ecr", responses.get_region(), resource_arn=resource)
    if refused is None:
        return ""
    who = getattr(refused, "principal_arn", "") or getattr(refused, "message", "")
    return f"User: {who} is not authorized to perform: {action} on resource: {resource}"
