from __future__ import annotations

import subprocess
import sys

import pytest

from serve import haproxy
from serve.haproxy import UnknownConfiguration, is_loopback, mended_config, write_starter

# As Ray Serve 2.60 writes it, less comments and what is not touched.
CONFIG = """global
    log 127.0.0.1:514 local0 info
    stats socket /tmp/ez/5f/s mode 666 level admin expose-fd listeners
    nbthread 2
defaults
    mode http
    timeout connect 5s
    option idle-close-on-response
    # Normalize 502/503/504 to 500 per Serve's default behavior. 503
    # covers HAProxy's own "all retries exhausted / no server" response.
    errorfile 502 /tmp/ez/5f/500.http
    errorfile 503 /tmp/ez/5f/500.http
    errorfile 504 /tmp/ez/5f/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
    no log
frontend http_frontend
    bind 127.0.0.1:8000
    # Health check endpoint
    acl healthcheck path -i /-/healthz
    use_backend http-ez if is_http-ez
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found."
backend http-ez
    http-reuse always
    server SERVE_REPLICA_ez-1 127.0.0.1:30000 check
listen stats
  bind *:8404
  stats enable
"""


def mended(text: str = CONFIG, host: str = "127.0.0.1") -> list[str]:
    """Lines without their indentation."""
    return [line.strip() for line in mended_config(text, host=host, max_body_bytes=9).splitlines()]


def after(lines: list[str], start: str) -> str:
    return lines[lines.index(start) + 1]


def test_statistics_and_metrics_of_a_service_on_loopback_stay_there():
    lines = mended()
    assert after(lines, "listen stats") == "bind 127.0.0.1:8404"
    assert after(lines, "frontend prometheus") == "bind 127.0.0.1:9101"


def test_metrics_of_an_open_service_are_open_but_statistics_are_not():
    lines = mended(CONFIG.replace("bind 127.0.0.1:8000", "bind *:8000"), "0.0.0.0")
    assert after(lines, "listen stats") == "bind 127.0.0.1:8404"
    assert after(lines, "frontend prometheus") == "bind *:9101"


def test_only_this_user_commands_haproxy():
    assert "stats socket /tmp/ez/5f/s mode 600 level admin expose-fd listeners" in mended()


def test_no_error_is_turned_into_a_500():
    lines = mended()
    assert not any(line.startswith("errorfile") for line in lines)
    assert [line.split()[2] for line in lines if line.startswith("http-error")] == [
        "502",
        "503",
        "504",
    ]


def test_a_service_without_replicas_answers_in_the_form_of_our_errors():
    (line,) = [line for line in mended() if line.startswith("http-error status 503")]
    assert line == (
        'http-error status 503 content-type application/json string "{\\"error\\": '
        '{\\"code\\": \\"not_ready\\", '
        '\\"message\\": \\"no replica is up; ask again in a second\\", '
        '\\"details\\": {}, \\"request_id\\": \\"\\"}}" hdr Retry-After 1'
    )


def test_before_the_application_is_there_every_path_is_not_ready_instead_of_unknown():
    line = after(mended(), "backend default_backend")
    assert line.startswith("http-request return status 503 content-type application/json")
    assert not any("not found" in line for line in mended())


def test_a_body_that_is_told_to_be_too_long_is_refused_at_the_door():
    (line,) = [line for line in mended() if "status 413" in line]
    assert line.endswith("if { req.hdr_val(content-length) gt 9 }")


def test_a_body_of_unknown_length_is_not_read_ahead():
    assert (
        "http-request set-header x-request-disconnect-disabled ?1 "
        "if { req.hdr(transfer-encoding) -m found }"
    ) in mended()


def test_serves_own_404_after_the_application_is_gone_means_not_ready():
    (line,) = [line for line in mended() if line.startswith("http-response return status 503")]
    assert line.endswith(
        "if { status 404 } { srv_name -m beg SERVE_PROXY_ACTOR } "
        "{ res.hdr(content-type) -m beg text/plain }"
    )


def test_what_is_not_to_be_mended_stays_as_it_is():
    kept = [line.strip() for line in CONFIG.splitlines() if "bind" not in line]
    lines = mended()
    changed = ("stats socket", "errorfile", "http-request return status 404")
    assert [line for line in kept if not line.startswith(changed)] == [
        line for line in lines if line in kept
    ]


def test_a_mended_configuration_stays_as_it_is():
    once = mended_config(CONFIG, host="127.0.0.1", max_body_bytes=9)
    assert mended_config(once, host="127.0.0.1", max_body_bytes=9) == once


@pytest.mark.parametrize(
    "line", ["mode 666 ", "errorfile 503", "bind :9101", "bind *:8404", "backend default_backend"]
)
def test_a_configuration_without_a_line_to_mend_is_refused(line: str):
    with pytest.raises(UnknownConfiguration, match="must hold .* once, found 0 times"):
        mended(CONFIG.replace(line, "# gone"))


@pytest.mark.parametrize("address", ["*:7000", ":7000", "0.0.0.0:7000", "192.0.2.2:7000", ":::7"])
def test_a_listener_that_is_not_on_loopback_is_refused_if_the_service_is(address: str):
    with pytest.raises(UnknownConfiguration, match="must be on loopback"):
        mended(f"{CONFIG}frontend new\n    bind {address}\n")


def test_a_mended_configuration_is_checked_again():
    opened = mended_config(CONFIG, host="127.0.0.1", max_body_bytes=9) + "  bind *:7000\n"
    with pytest.raises(UnknownConfiguration, match="must be on loopback"):
        mended_config(opened, host="127.0.0.1", max_body_bytes=9)


def test_loopback_is_told_from_everything_else():
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["", "*", "0.0.0.0", "::", "10.0.0.1", "example.org"]))


def started(tmp_path, config: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the starter as Ray would, with `echo` for HAProxy."""
    path = tmp_path / "haproxy.cfg"
    path.write_text(config)
    starter = tmp_path / "a folder's haproxy"
    write_starter(starter, binary="/bin/echo", host="127.0.0.1", max_body_bytes=9)
    words = [str(starter), *options, "-f", str(path), "-sf", "12"]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_starter_mends_the_file_and_becomes_haproxy_with_the_same_options(tmp_path):
    done = started(tmp_path, CONFIG, "-db")
    assert done.stdout == f"-db -f {tmp_path}/haproxy.cfg -sf 12\n"
    assert done.returncode == 0
    text = mended_config(CONFIG, host="127.0.0.1", max_body_bytes=9)
    assert (tmp_path / "haproxy.cfg").read_text() == text


def test_the_starter_does_not_start_haproxy_with_a_configuration_it_does_not_know(tmp_path):
    done = started(tmp_path, "frontend new\n  bind *:80\n")
    assert (done.returncode, done.stdout) == (haproxy.REFUSED, "")
    assert "HAProxy is not started: Ray's configuration must hold" in done.stderr


def test_the_starter_keeps_the_process_that_ray_waits_for(tmp_path):
    path = tmp_path / "haproxy"
    write_starter(path, binary=sys.executable, host="127.0.0.1", max_body_bytes=9)
    process = subprocess.Popen(
        [path, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, text=True
    )
    assert int(process.communicate()[0]) == process.pid
