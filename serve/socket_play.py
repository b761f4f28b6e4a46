"""WebSocket `/v1/models/{name}/play`: metadata first, then observation -> action.

Text frames are JSON, binary ones msgpack; each is answered in its own kind. The connection is a
session: one frame at a time is enough.
"""

from __future__ import annotations

import json
import time
from typing import Any

import msgpack
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from serve.bodies import from_json, from_msgpack
from serve.errors import ServiceError, Unprocessable
from serve.guards import read_request_id, told_of, turn_away
from serve.replies import act_reply
from serve.routes_act import info_of
from serve.schema import ActRequest
from serve.service import Service

router = APIRouter()
PATH = "/v1/models/{name}/play"
CLOSE_TOO_BIG, CLOSE_GOING_AWAY = 1009, 1001


@router.websocket(PATH)
async def play(socket: WebSocket, name: str) -> None:
    """Plays as long as the client likes."""
    service: Service = socket.app.state.service
    state = socket.scope["state"]
    try:
        metadata = info_of(service, name)
    except ServiceError as error:
        await socket.receive()  # websocket.connect
        return await turn_away(error, socket.scope, socket.send)
    await socket.accept()
    await socket.send_text(json.dumps({"type": "metadata", "model": metadata}))
    session = f"ws-{state['request_id']}-{id(socket):x}"
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            sent = message["bytes"] if text is None else text
            if len(sent) > service.settings.max_body_bytes:
                return await socket.close(CLOSE_TOO_BIG)
            reply = await one(service, name, sent, session)
            if isinstance(sent, str):
                await socket.send_text(json.dumps(reply))
            else:
                await socket.send_bytes(msgpack.packb(reply))
            if service.is_draining:
                return await socket.close(CLOSE_GOING_AWAY)
    except (WebSocketDisconnect, RuntimeError):  # gone while it was being answered
        return
    finally:
        if name in service.roster.seats:
            service.roster.seats[name].sessions.close(session)


async def one(service: Service, name: str, sent: str | bytes, session: str) -> dict[str, Any]:
    """Answers one frame: the act reply, or an error; the connection stays."""
    request_id, begun, code = read_request_id(None), time.perf_counter(), 200
    try:
        request = from_json(sent) if isinstance(sent, str) else from_msgpack(sent)
        outcome = await service.act(name, as_part_of(request, session))
        return act_reply(outcome, request_id=request_id)
    except Exception as error:
        told = told_of(error, request_id)
        code = told.status
        return told.body(request_id)
    finally:
        seconds = time.perf_counter() - begun
        service.metrics.request(model=name, route=PATH, code=code, seconds=seconds)


def as_part_of(request: ActRequest, session: str) -> ActRequest:
    """The same request within the connection's session; batches stand for themselves."""
    if request.session_id is not None:
        raise Unprocessable(
            "session_id must not be given here: the connection is the session",
            details={"fields": ["session_id"]},
        )
    if request.observations is not None:
        return request
    return request.model_copy(update={"session_id": session})
