"""By HTTP, in a session and over a WebSocket an agent plays what it plays locally, to the bit."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from websockets.sync.server import ServerConnection, serve

from cli.remote import TRANSPORTS, RemoteAgent
from rllib_ez.core.agent_card import AgentCard, write_agent
from rllib_ez.core.agent_folder import FOLDER
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.envs import EpisodeResult
from rllib_ez.runs.evaluation import Evaluator, load_agent
from serve.app import running
from serve.client import ActionClient, RequestRefused, ServiceUnavailable
from serve.service import Service
from serve.settings import ServiceSettings
from serve.wire import json_array
from tests.serve.agents import HereBoard
from tests.serve.test_client import FRAMES, INFO, Fake, client_of, error, reply

TINY = {"hidden_size": 8, "lstm_size": 4, "projection_size": 8, "prediction_hidden_size": 4}
MODELS = {
    "CartPole-v1": ModelConfig(**TINY, frame_stack=2),
    "rllib_ez/DelayedCatch-v0": ModelConfig(
        **TINY,
        network="pixel",
        frame_shape=(32, 32, 3),
        frame_stack=3,
        num_actions=3,
        latent_channels=4,
        downsampling=8,
        head_channels=2,
        head_hidden_size=4,
    ),
}
EPISODES = 5


def written_agent(folder: Path, env: str, *, noise: float = 0.2) -> Path:
    """An untrained agent as a checkpoint; noise on its weights makes it look at the frames."""
    model = MODELS[env]
    card = AgentCard(
        env=env,
        env_config={},
        frame_size=96,
        grayscale=False,
        frame_dtype="uint8" if model.network == "pixel" else "float32",
        model=model,
        search=SearchConfig(num_simulations=4),
        seed=3,
        num_env_steps=100,
        num_updates=10,
        written_by="test",
    )
    torch.manual_seed(1)
    weights = EfficientZeroModel(model).inference_state_dict()
    noisy = {k: w + noise * torch.randn(w.shape) for k, w in weights.items() if "running" not in k}
    write_agent(folder / FOLDER, card, {**weights, **noisy})
    return folder


@contextmanager
def served(models: dict[str, Path], **settings: Any) -> Iterator[str]:
    """The real service on a free port, in a thread; its URL."""
    # Named as TCP: asyncio sends without delay (40 ms) only then.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    servers: list[uvicorn.Server] = []
    up = threading.Event()

    async def answer() -> None:
        service = Service(ServiceSettings.of({"access_log": False, **settings}), HereBoard())
        placed = {name: {"checkpoint": str(path)} for name, path in models.items()}
        async with running(service, placed) as app:
            config = uvicorn.Config(app, log_level="warning", lifespan="off")
            servers.append(uvicorn.Server(config))
            up.set()
            await servers[0].serve(sockets=[listening])

    thread = threading.Thread(target=asyncio.run, args=(answer(),))
    thread.start()
    try:
        assert up.wait(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture(scope="module", params=sorted(MODELS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checkpoints by name, and the URL of a service that has them.

    What "looking" plays depends on every frame, what "tied" plays on the seeds of its searches.
    """
    folder = tmp_path_factory.mktemp("agents")
    looking = written_agent(folder / "looking", request.param)
    models = {"looking": looking, "tied": written_agent(folder / "tied", request.param, noise=0)}
    with served(models, max_batch=3) as url:
        yield models, url


def local(checkpoint: Path) -> list[EpisodeResult]:
    agent = load_agent(checkpoint)
    with Evaluator(agent.card, EPISODES, seed=1) as evaluator:
        return evaluator.play(agent)


def remote(url: str, **options: Any) -> list[EpisodeResult]:
    with (
        RemoteAgent(url, **options) as agent,
        Evaluator(agent.card, EPISODES, seed=1) as evaluator,
    ):
        return evaluator.play(agent)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("model", ["looking", "tied"])
def test_returns_and_lengths_are_the_local_ones(
    world: tuple[dict[str, Path], str], model: str, transport: str
):
    checkpoints, url = world
    assert remote(url, model=model, transport=transport) == local(checkpoints[model])


def test_a_session_sends_single_frames_and_counts_them():
    fake = Fake()
    with client_of(fake) as client, client.session() as session:
        for i in range(3):
            assert session.act(FRAMES[i], reset=i == 0) == 1
        session.act(FRAMES[3], reset=True)
    assert fake.sizes == [1, 1, 1, 1]
    assert [query["step"] for query in fake.queries] == ["0", "1", "2", "3"]
    assert [query.get("reset") for query in fake.queries] == ["true", None, None, "true"]
    assert len({query["session_id"] for query in fake.queries}) == 1


def test_a_lost_session_is_sent_the_whole_stack():
    fake = Fake(reply(), reply(), error(409, "session_lost"))
    with client_of(fake) as client, client.session() as session:
        for i in range(4):
            session.act(FRAMES[i], reset=i == 0)
    assert fake.sizes == [1, 1, 1, 2, 1]
    assert fake.asked[3].content == FRAMES[1:3].tobytes()
    assert (fake.queries[3]["step"], "reset" in fake.queries[3]) == ("2", False)


def test_an_answer_that_was_lost_is_asked_for_with_the_whole_stack():
    fake = Fake(reply(), httpx.ReadError("died"))
    with client_of(fake) as client, client.session() as session:
        session.act(FRAMES[0], reset=True)
        session.act(FRAMES[1])
    assert (fake.sizes, fake.queries[1]["step"]) == ([1, 1, 2], fake.queries[2]["step"])


def test_after_a_call_that_failed_the_frame_can_be_sent_again():
    fake = Fake(reply(), error(503, "draining"))
    with client_of(fake, retry_seconds=0) as client, client.session() as session:
        session.act(FRAMES[0], reset=True)
        with pytest.raises(ServiceUnavailable):
            session.act(FRAMES[1])
        session.act(FRAMES[1])
    assert fake.asked[2].content == FRAMES[:2].tobytes()


def test_without_room_for_a_session_stacks_are_sent_alone():
    fake = Fake(error(429, "too_many_sessions"), error(429, "too_many_sessions"))
    with client_of(fake) as client, client.session() as session:
        assert session.act(FRAMES[0], reset=True) == 1
    assert (fake.sizes[2], fake.queries[2]) == (2, {})


def test_an_episode_must_begin_with_a_reset():
    with client_of(Fake()) as client, client.session() as session:
        with pytest.raises(ValueError, match="reset must be True"):
            session.act(FRAMES[0])


class FakeSocket:
    """Answers each message with the next of `answers`; None: hangs up."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.answers, self.said, self.calls = list(answers), list[dict[str, Any]](), 0

    def __call__(self, line: ServerConnection) -> None:
        self.calls += 1
        line.send(json.dumps({"type": "metadata", "model": INFO}))
        for message in line:
            self.said.append(json.loads(message))
            answer = self.answers.pop(0) if self.answers else reply()
            if answer is None:
                return
            line.send(json.dumps(answer))

    @property
    def shapes(self) -> list[list[int]]:
        return [message["observation"]["shape"] for message in self.said]


@contextmanager
def listening(answer: Any, fake: Fake, **options: Any) -> Iterator[ActionClient]:
    """A client of a WebSocket server on a free port, whose HTTP requests go to `fake`."""
    with serve(answer, "127.0.0.1", 0, **options) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        with ActionClient(url, transport=httpx.MockTransport(fake), retry_seconds=2) as client:
            yield client
        server.shutdown()


def test_a_websocket_begins_with_the_metadata_then_takes_single_frames():
    fake = FakeSocket()
    with listening(fake, Fake()) as client, client.play() as play:
        assert play.metadata == INFO
        for i in range(3):
            assert play.act(FRAMES[i], reset=i == 0, simulations=2) == 1
    assert (fake.shapes, fake.calls) == ([[2, 3], [3], [3]], 1)
    assert fake.said[2]["simulations"] == 2


@pytest.mark.parametrize("trouble", [None, error(409, "session_lost").json()], ids=str)
def test_after_trouble_a_websocket_is_sent_the_whole_stack(trouble: Any):
    fake = FakeSocket(reply(), reply(), trouble)
    with listening(fake, Fake()) as client, client.play() as play:
        for i in range(4):
            play.act(FRAMES[i], reset=i == 0)
    assert fake.shapes == [[2, 3], [3], [3], [2, 3], [3]]
    assert fake.said[3]["observation"] == json_array(FRAMES[1:3])
    assert fake.calls == (2 if trouble is None else 1)


def test_an_error_over_a_websocket_is_raised_and_the_connection_stays():
    fake = FakeSocket(error(422, "invalid_request").json())
    with listening(fake, Fake()) as client, client.play() as play:
        with pytest.raises(RequestRefused) as caught:
            play.act(FRAMES[0], reset=True, temperature=-1.0)
        play.act(FRAMES[0], reset=True)
    assert (caught.value.status, fake.calls) == (422, 1)


def refusing(line: ServerConnection, request: Any) -> Any:
    return line.respond(403, "")


def test_why_a_handshake_was_refused_is_asked_of_http():
    class Closed(Fake):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            wanted = [INFO] if request.url.path == "/v1/models" else None
            self.asked.append(request)
            if wanted or len(self.asked) == 2:
                return httpx.Response(200, json={"models": wanted} if wanted else INFO)
            return error(401, "unauthorized")

    with listening(FakeSocket(), Closed(), process_request=refusing) as client:
        with pytest.raises(RequestRefused) as caught:
            client.play().__enter__()
    assert caught.value.code == "unauthorized"


def test_a_handshake_that_is_refused_without_a_reason_is_tried_again():
    fake = FakeSocket()
    refusals = [403, 503]

    def at_first(line: ServerConnection, request: Any) -> Any:
        return line.respond(refusals.pop(), "") if refusals else None

    with listening(fake, Fake(), process_request=at_first) as client, client.play() as play:
        assert play.act(FRAMES[0], reset=True) == 1


def test_play_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.conversation.find_spec", lambda name: None)
    with client_of(Fake()) as client, pytest.raises(ImportError, match="pip install websockets"):
        client.play()
