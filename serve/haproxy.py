"""Stands before Ray's HAProxy and mends the configuration that Ray Serve wrote for it.

    python haproxy.py HOST MAX_BODY_BYTES BINARY ... -f CONFIG ...

Ray Serve 2.60 binds its pages to every interface, lets everybody command HAProxy, hides a dead
replica behind a 500, and a replica takes in a body of any size. Only the standard library: this
runs before every start and reload of HAProxy, and becomes the HAProxy that Ray waits for.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

MARK = "# mended by serve/haproxy.py\n"
REFUSED = 78  # EX_CONFIG
TOO_LARGE = "body_too_large"
# What HAProxy itself answers; an answer of a replica is passed on as it is.
ANSWERS = {
    502: ("replica_lost", "the replica died while it answered; ask again"),
    503: ("not_ready", "no replica is up; ask again in a second"),
    504: ("timeout", "the replica did not answer in time"),
}


class UnknownConfiguration(Exception):
    """Ray wrote a configuration that this file was not made for."""


def write_starter(path: Path, *, binary: str, host: str, max_body_bytes: int) -> None:
    """Writes what `RAY_SERVE_HAPROXY_BINARY_PATH` may name: a program that mends, then starts.

    Args:
        path: of the new file, in a folder that only this user may enter.
        binary: the true HAProxy.
        host: where the service listens.
        max_body_bytes: of one request, >= 1.
    """
    words = [sys.executable, "-I", "-S", __file__, host, str(max_body_bytes), binary]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o700)


def main(arguments: Sequence[str]) -> None:
    """Mends the configuration where it lies, and becomes HAProxy."""
    host, max_body_bytes, binary, *options = arguments
    if "-f" in options:
        path = Path(options[options.index("-f") + 1])
        try:
            mended = mended_config(path.read_text(), host=host, max_body_bytes=int(max_body_bytes))
        except UnknownConfiguration as error:
            print(f"HAProxy is not started: {error}", file=sys.stderr)
            sys.exit(REFUSED)
        fresh = path.with_suffix(".mended")
        fresh.write_text(mended)
        fresh.replace(path)
    os.execv(binary, [binary, *options])


def mended_config(text: str, *, host: str, max_body_bytes: int) -> str:
    """What HAProxy is to read instead of `text`; of a mended text, the same again.

    Args:
        text: as Ray Serve 2.60 writes it.
        host: where the service listens; Prometheus may ask there too. The page of statistics
            is for this machine only.
        max_body_bytes: the longest body that reaches a replica whole, >= 1.

    Raises:
        UnknownConfiguration: a line to mend is not there, or for a service on loopback something
            would still listen elsewhere.
    """
    if text.startswith(MARK):
        check_listeners(text, host)
        return text
    metrics_host = "*" if host in ("0.0.0.0", "::") else host
    for pattern, new in (
        (r"^( *stats socket .*) mode 666 ", r"\1 mode 600 "),
        (r"^( *)errorfile 502 .*\n *errorfile 503 .*\n *errorfile 504 .*\n", answers()),
        (r"^(frontend prometheus\n +bind ):(\d+)$", rf"\g<1>{metrics_host}:\2"),
        (r"^(frontend http_frontend\n +bind .*\n)", rf"\1{door_rules(max_body_bytes)}"),
        (r"^(backend default_backend\n).*\n", rf"\1{nothing_deployed()}"),
        (r"^(listen stats\n +bind )\*:(\d+)$", r"\g<1>127.0.0.1:\2"),
    ):
        text = mended_once(text, pattern, new)
    check_listeners(text, host)
    return MARK + text


def mended_once(text: str, pattern: str, new: str) -> str:
    """`text` with the one place that fits replaced."""
    text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
    if count != 1:
        raise UnknownConfiguration(
            f"Ray's configuration must hold {pattern!r} once, found {count} times; "
            "use Ray 2.60, or unset RAY_SERVE_ENABLE_HA_PROXY"
        )
    return text


def answers() -> str:
    """Lines for the section `defaults`."""
    return replacement(
        f"http-error status {status} {json_body(code, message)} hdr Retry-After 1"
        for status, (code, message) in ANSWERS.items()
    )


def nothing_deployed() -> str:
    """The line for requests that come before the application does; it takes every path."""
    body = json_body(*ANSWERS[503])
    return replacement([f"http-request return status 503 {body} hdr Retry-After 1"])


def door_rules(max_body_bytes: int) -> str:
    """Lines for the section of the service.

    A replica reads ahead without a limit, to learn of a client that leaves. A body whose length
    nobody knows beforehand is therefore read only as fast as the application asks for it; its
    client may leave unnoticed.
    """
    too_large = json_body(TOO_LARGE, f"a body must be at most {max_body_bytes} bytes")
    lines = [
        f"http-request return status 413 {too_large} "
        f"if {{ req.hdr_val(content-length) gt {max_body_bytes} }}",
        "http-request del-header x-request-disconnect-disabled",
        "http-request set-header x-request-disconnect-disabled ?1 "
        "if { req.hdr(transfer-encoding) -m found }",
        # Serve's own proxy stands in for replicas; it knows no path once the application goes.
        f"http-response return status 503 {json_body(*ANSWERS[503])} hdr Retry-After 1 "
        "if { status 404 } { srv_name -m beg SERVE_PROXY_ACTOR } "
        "{ res.hdr(content-type) -m beg text/plain }",
    ]
    return replacement(lines)


def replacement(lines: Iterable[str]) -> str:
    """Lines of a section, as `re.sub` wants them."""
    return "".join(f"    {line}\n" for line in lines).replace("\\", r"\\")


def json_body(code: str, message: str) -> str:
    """Words of HAProxy for a body in the service's form of an error."""
    error = {"code": code, "message": message, "details": {}, "request_id": ""}
    quoted = json.dumps({"error": error}).replace('"', '\\"')
    return f'content-type application/json string "{quoted}"'


def check_listeners(text: str, host: str) -> None:
    """Raises UnknownConfiguration if a service on loopback would listen elsewhere too."""
    if not is_loopback(host):
        return
    for address in re.findall(r"^\s*bind\s+(\S+)", text, re.MULTILINE):
        if not is_loopback(address.rpartition(":")[0]):
            raise UnknownConfiguration(
                f"every listener must be on loopback like {host!r}, got bind {address!r}; "
                "use Ray 2.60, or unset RAY_SERVE_ENABLE_HA_PROXY"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; of names, only localhost is known."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main(sys.argv[1:])
