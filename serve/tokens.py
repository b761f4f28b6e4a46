"""Who may ask: tokens of clients and of admins, from a file; none at all without one."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from rllib_ez.errors import SettingError
from serve.errors import Forbidden, Unauthorized

ROLES = ("client", "admin")
SHORTEST = 16  # characters


@dataclass(frozen=True, slots=True)
class Tokens:
    """Digests, so that a comparison takes the same time whatever was sent."""

    # (role, SHA-256); None: nobody is asked
    known: tuple[tuple[str, bytes], ...] | None = field(repr=False)

    @classmethod
    def read(cls, path: str | None) -> Tokens:
        """Reads lines "client TOKEN" and "admin TOKEN"; blank lines and # lines are skipped.

        Raises:
            SettingError: no such file, another line, a short token, one that stands twice, or
                nobody may ask.
        """
        if path is None:
            return cls(None)
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"token_file must be a readable file, got {error}") from error
        known: list[tuple[str, bytes]] = []
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or words[0] not in ROLES:
                raise SettingError(  # the line itself may hold a secret
                    f"token_file must hold lines 'client TOKEN' or 'admin TOKEN', got something "
                    f"else in line {number} of {path}"
                )
            if len(words[1]) < SHORTEST:
                raise SettingError(
                    f"a token must have at least {SHORTEST} characters, got {len(words[1])} in "
                    f"line {number} of {path}: python -c 'import secrets; "
                    "print(secrets.token_urlsafe(32))'"
                )
            digest = hashed(words[1].encode())
            if any(digest == other for _, other in known):  # its role would be anybody's guess
                raise SettingError(
                    f"a token must stand once, got it again in line {number} of {path}"
                )
            known.append((words[0], digest))
        if not known:
            raise SettingError(f"token_file must hold at least one token, got none in {path}")
        return cls(tuple(known))

    def check(self, authorization: bytes | None, *, admin: bool) -> None:
        """Lets through who may.

        Args:
            authorization: the header's value.
            admin: the path is an admin's.

        Raises:
            Unauthorized: no token, or an unknown one.
            Forbidden: a client asks for what is an admin's, or there is no admin at all.
        """
        if self.known is None:
            if admin:
                raise Forbidden(
                    "this needs an admin's token, and the service has no tokens: start it with "
                    "--token-file"
                )
            return
        role = self._role(authorization)
        if role is None:
            raise Unauthorized(
                "a known token must be sent as 'Authorization: Bearer TOKEN', got "
                + ("none" if authorization is None else "another")
            )
        if admin and role != "admin":
            raise Forbidden("this needs an admin's token, got a client's")

    def _role(self, authorization: bytes | None) -> str | None:
        scheme, _, token = (authorization or b"").partition(b" ")
        given, found = hashed(token.strip()), None
        for role, digest in self.known or ():  # all of them, found or not
            if hmac.compare_digest(digest, given):
                found = role
        return found if scheme.lower() == b"bearer" else None


def hashed(token: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(token).digest()
