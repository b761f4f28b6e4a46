from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from rllib_ez.errors import SettingError
from serve.errors import Forbidden, Unauthorized
from serve.tokens import Tokens

CLIENT, OTHER, ADMIN = "client-secret-0001", "client-secret-0002", "admin-secret-00001"


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return read(tmp_path, f"# people\nclient {CLIENT}\n\n  client\t{OTHER}  \nadmin {ADMIN}\n")


def read(folder: Path, text: str) -> Tokens:
    (folder / "tokens").write_text(text)
    return Tokens.read(str(folder / "tokens"))


@pytest.mark.parametrize("token", [CLIENT, OTHER, ADMIN])
def test_every_known_token_may_play(tokens: Tokens, token: str):
    tokens.check(f"Bearer {token}".encode(), admin=False)


def test_only_an_admin_may_change_what_is_served(tokens: Tokens):
    tokens.check(f"Bearer {ADMIN}".encode(), admin=True)
    for token in (CLIENT, OTHER):
        with pytest.raises(Forbidden, match="needs an admin's token, got a client's"):
            tokens.check(f"Bearer {token}".encode(), admin=True)


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer client-secret-0003",
        CLIENT.encode(),
        f"Basic {CLIENT}".encode(),
        f"Bearer {CLIENT} {CLIENT}".encode(),
        f"Bearer {CLIENT}x".encode(),
        f"Bearer {CLIENT[:-1]}".encode(),
        f"Bearer\t{CLIENT}".encode(),
        b"Bearer \xff\xfe",
    ],
)
def test_whatever_else_is_refused(tokens: Tokens, sent: bytes | None, admin: bool):
    with pytest.raises(Unauthorized, match="a known token must be sent") as raised:
        tokens.check(sent, admin=admin)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_schemes_case_does_not_matter(tokens: Tokens, scheme: str):
    tokens.check(f"{scheme} {CLIENT}".encode(), admin=False)


@pytest.mark.parametrize("sent", [CLIENT, OTHER, ADMIN, "nobody"])
def test_all_tokens_are_compared_in_constant_time(
    tokens: Tokens, sent: str, monkeypatch: pytest.MonkeyPatch
):
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("serve.tokens.hmac.compare_digest", counting)
    tokens._role(f"Bearer {sent}".encode())
    assert compared == [(32, 32)] * 3


def test_without_a_file_anybody_may_play_and_nobody_is_an_admin():
    tokens = Tokens.read(None)
    tokens.check(None, admin=False)
    with pytest.raises(Forbidden, match="start it with --token-file"):
        tokens.check(f"Bearer {ADMIN}".encode(), admin=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must hold at least one token"),
        ("# client abc\n", "must hold at least one token"),
        (f"client {CLIENT}\nroot {OTHER}\n", "something else in line 2"),
        (f"{CLIENT}\n", "something else in line 1"),
        (f"client {CLIENT} # mine\n", "something else in line 1"),
        (f"client: {CLIENT}\n", "something else in line 1"),
        ("client secret-short\n", "at least 16 characters, got 12 in line 1"),
        (f"client {CLIENT}\nadmin {CLIENT}\n", "must stand once, got it again in line 2"),
    ],
)
def test_a_wrong_file_is_refused_without_telling_what_is_in_it(
    tmp_path: Path, text: str, told: str
):
    with pytest.raises(SettingError, match=told) as raised:
        read(tmp_path, text)
    assert "secret-" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused_without_telling_what_is_in_it(tmp_path: Path):
    (tmp_path / "tokens").write_bytes(f"client {CLIENT}\xff".encode("latin-1"))
    for path in (tmp_path / "tokens", tmp_path / "nowhere", tmp_path):
        with pytest.raises(SettingError, match="token_file must be a readable file") as raised:
            Tokens.read(str(path))
        assert CLIENT not in str(raised.value)


def test_a_byte_order_mark_is_no_part_of_a_role(tmp_path: Path):
    (tmp_path / "tokens").write_bytes(b"\xef\xbb\xbfclient " + CLIENT.encode())
    Tokens.read(str(tmp_path / "tokens")).check(f"Bearer {CLIENT}".encode(), admin=False)


def test_neither_tokens_nor_digests_are_shown(tokens: Tokens):
    assert repr(tokens) == "Tokens()"
