"""Names for patients and studies that tell nobody who they are, and stay the same on one machine.

A pseudonym is a keyed digest (BLAKE2, RFC 7693) of the identity. Its key, the salt, is drawn once and lies in the
person's own folder: without it nobody can try names against the pseudonyms in a log or a report.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from vesal.errors import VesalError

_SALT_BYTES = 32
_DIGITS = 8


def pseudonym(kind: str, *identity: str) -> str:
    """Such as 'patient-3f2a9c41'.

    Args:
        kind: of what.
        identity: all that tells it from others, such as patient's number and its issuer.

    Raises:
        VesalError: the salt can be neither read nor written.
    """
    digest = hashlib.blake2b("\0".join((kind, *identity)).encode(), key=_salt(), digest_size=_DIGITS // 2)
    return f"{kind}-{digest.hexdigest()}"


def salt_file() -> Path:
    """Where the salt lies: the folder of settings that the XDG base directory specification names."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "vesal" / "salt"


def _salt() -> bytes:
    path = salt_file()
    try:
        if not path.exists():
            _draw(path)
        salt = path.read_bytes()
    except OSError as error:
        raise VesalError(
            f"Cannot write {path}, which keeps the key of pseudonyms, or read it ({error.strerror or error}); make its "
            "folder yours, or set XDG_CONFIG_HOME to one that is."
        ) from error
    if len(salt) != _SALT_BYTES:
        raise VesalError(f"{path} is damaged; remove it, and patients get new pseudonyms.")
    return salt


def _draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # for its user alone
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(_SALT_BYTES))
        # Another process may draw one at the same time: the first that is there, whole, counts.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
