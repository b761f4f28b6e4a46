"""`/v2`: the Open Inference Protocol, as tritonclient and KServe's clients speak it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, ValidationError

import rllib_ez
from serve.bodies import from_entries, refused
from serve.errors import NotFound, Unprocessable
from serve.oip import HEADER_LENGTH, Inference, read_inference, written
from serve.query import invalid
from serve.routes_act import service_of
from serve.schema import STRICT, ActRequest
from serve.service import Outcome, Service

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
FAILED = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
OIP_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "{'error': text}", "content": FAILED}
    for status in (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503)
}
# Name of an output: (datatype, its shape after the leading n, what it is called in `include`).
OUTPUTS = {
    "action": ("INT64", "", None),
    "value": ("FP32", "", "value"),
    "policy": ("FP32", "A", "policy"),
    "visits": ("INT32", "A", "visits"),
    "q": ("FP32", "A", "q"),
}
DEFAULT_OUTPUTS = ("action", "value", "policy")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
            "application/octet-stream": _BINARY,
        },
    },
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
            "description": "length of the JSON, where bytes follow it",
        }
    ],
}
INDEX_BODY = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IndexRequest"}}},
    }
}


@router.get("", responses=OIP_ERRORS)
async def server() -> dict[str, Any]:
    """Who this is."""
    return {
        "name": "rllib_ez",
        "version": rllib_ez.__version__,
        "extensions": [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "statistics",
        ],
    }


@router.get("/health/live", response_class=Response, responses=OIP_ERRORS)
async def live() -> Response:
    """The process answers."""
    return Response()


@router.get("/health/ready", response_class=Response, responses=OIP_ERRORS)
async def ready(request: Request) -> Response:
    """Every model answers."""
    service_of(request).check_ready()
    return Response()


class IndexRequest(BaseModel):
    """Which models to tell of."""

    model_config = STRICT

    ready: bool = Field(False, description="only those that answer")


@router.post("/repository/index", responses=OIP_ERRORS, openapi_extra=INDEX_BODY)
async def index(request: Request) -> list[dict[str, str]]:
    """Every model with its state."""
    states = {"ready": "READY", "loading": "LOADING", "failed": "UNAVAILABLE"}
    try:
        asked = IndexRequest.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        raise refused(error) from error
    return [
        {
            "name": seat.name,
            "version": str(seat.current.version) if seat.current else "",
            "state": states[seat.state],
            "reason": seat.failed[1] if seat.failed else "",
        }
        for seat in service_of(request).roster.seats.values()
        if seat.state == "ready" or not asked.ready
    ]


@router.get("/models/{name}", responses=OIP_ERRORS)
@router.get("/models/{name}/versions/{version}", responses=OIP_ERRORS)
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Names, datatypes and shapes. Further inputs: seed, simulations [n], legal_actions [n, A]."""
    card, present = found(service_of(request), name, version)
    dtype = {"uint8": "UINT8", "float32": "FP32"}[card.frame_dtype]
    shape = [-1, card.model.frame_stack, *card.model.frame_shape]
    return {
        "name": name,
        "versions": [present],
        "platform": "rllib_ez",
        "inputs": [{"name": "observation", "datatype": dtype, "shape": shape}],
        "outputs": [
            {
                "name": output,
                "datatype": datatype,
                "shape": [-1, card.model.num_actions] if tail else [-1],
            }
            for output, (datatype, tail, _) in OUTPUTS.items()
        ],
    }


@router.get("/models/{name}/config", responses=OIP_ERRORS)
@router.get("/models/{name}/versions/{version}/config", responses=OIP_ERRORS)
async def config(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The same as Triton's clients ask for it: without the leading n."""
    service = service_of(request)
    card, _ = found(service, name, version)
    dtype = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}[card.frame_dtype]
    dims = [card.model.frame_stack, *card.model.frame_shape]
    return {
        "name": name,
        "platform": "rllib_ez",
        "max_batch_size": service.settings.batcher.max_batch,
        "input": [{"name": "observation", "data_type": dtype, "dims": dims}],
        "output": [
            {
                "name": output,
                "data_type": f"TYPE_{datatype}",
                "dims": [card.model.num_actions] if tail else [1],
            }
            for output, (datatype, tail, _) in OUTPUTS.items()
        ],
        "dynamic_batching": {},
    }


@router.get("/models/{name}/stats", responses=OIP_ERRORS)
@router.get("/models/{name}/versions/{version}/stats", responses=OIP_ERRORS)
async def statistics(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """What this replica has answered under the name, over all versions."""
    service = service_of(request)
    _, present = found(service, name, version)

    def told(sample: str) -> float:
        return service.metrics.registry.get_sample_value(sample, {"model": name}) or 0.0

    def of(histogram: str) -> dict[str, int]:
        seconds = told(f"{histogram}_sum")
        return {"count": int(told(f"{histogram}_count")), "ns": int(seconds * 1e9)}

    stats = {
        "name": name,
        "version": present,
        "inference_count": int(told("ez_batch_observations_sum")),
        "execution_count": int(told("ez_batch_observations_count")),
        "inference_stats": {
            "success": of("ez_request_seconds"),
            "queue": of("ez_queue_seconds"),
            "compute_infer": of("ez_search_seconds"),
        },
    }
    return {"model_stats": [stats]}


@router.get("/models/{name}/ready", response_class=Response, responses=OIP_ERRORS)
@router.get(
    "/models/{name}/versions/{version}/ready", response_class=Response, responses=OIP_ERRORS
)
async def model_ready(request: Request, name: str, version: str | None = None) -> Response:
    """It answers."""
    found(service_of(request), name, version)
    return Response()


@router.post("/models/{name}/infer", responses=OIP_ERRORS, openapi_extra=INFER_BODY)
@router.post(
    "/models/{name}/versions/{version}/infer", responses=OIP_ERRORS, openapi_extra=INFER_BODY
)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Searches a batch."""
    service, state = service_of(request), request.scope["state"]
    card, _ = found(service, name, version)
    state["model"] = name
    length = state["headers"].get(HEADER_LENGTH.encode())
    inference = read_inference(
        await request.body(), None if length is None else length.decode("latin-1")
    )
    outcome = await service.act(name, as_request(inference, card.model.num_actions))
    outputs = {output: as_output(output, outcome) for output in wanted_of(inference)}
    head = {
        "model_name": name,
        "model_version": str(outcome.answered.answer.model.version),
        "id": inference.id,
    }
    body, header_length = written(
        head,
        {n: (a, inference.wanted.get(n, inference.is_binary)) for n, a in outputs.items()},
    )
    if not header_length:
        return Response(body, media_type="application/json")
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(body, media_type="application/octet-stream", headers=headers)


def found(service: Service, name: str, version: str | None) -> tuple[Any, str]:
    """The model's card and its version.

    Raises:
        NotFound: no such model, or not this version of it.
    """
    _, model = service.roster.model(name)
    present = str(model.version)
    if version is not None and version != present:
        raise NotFound(f"version of {name} must be {present}, got {version[:40]!r}")
    return model.card, present


def wanted_of(inference: Inference) -> list[str]:
    """The outputs asked for."""
    unknown = [name for name in inference.wanted if name not in OUTPUTS]
    if unknown:
        raise invalid("outputs", f"be among {list(OUTPUTS)}", unknown[0][:80])
    return list(inference.wanted) or list(DEFAULT_OUTPUTS)


def as_request(inference: Inference, num_actions: int) -> ActRequest:
    """The same as `POST /v1/.../act` takes it."""
    inputs = dict(inference.inputs)
    if "observation" not in inputs:
        raise Unprocessable(f"inputs must hold 'observation', got {sorted(inputs)}")
    entries: dict[str, Any] = {}
    for name in ("simulations", "seed"):
        if name in inputs:
            entries[name] = inputs.pop(name).ravel().tolist()
    if "legal_actions" in inputs:
        mask = inputs.pop("legal_actions")
        if mask.ndim != 2 or mask.shape[1] != num_actions or mask.dtype.kind == "f":
            got = f"{mask.dtype} of shape {list(mask.shape)}"
            raise invalid("legal_actions", f"be a mask [n, {num_actions}], BOOL or integers", got)
        entries["legal_actions"] = [np.flatnonzero(row).tolist() for row in mask]
    observations = inputs.pop("observation")
    if inputs:
        known = ["observation", "seed", "simulations", "legal_actions"]
        raise invalid("inputs", f"be among {known}", next(iter(inputs))[:80])
    include = {OUTPUTS[name][2] for name in wanted_of(inference)} - {None}
    options = {**inference.options, "include": sorted(str(i) for i in include)}
    request = from_entries({**entries, **options})
    return request.model_copy(update={"observations": observations})


def as_output(name: str, outcome: Outcome) -> np.ndarray:
    """One output [n] or [n, A]."""
    answer = outcome.answered.answer
    result = answer.result
    if name == "q":
        assert result.trace is not None
        return result.trace.q
    arrays: dict[str, np.ndarray] = {
        "action": answer.action.astype(np.int64),
        "value": result.root_value.astype(np.float32),
        "policy": result.policy.astype(np.float32),
        "visits": result.visit_counts.astype(np.int32),
    }
    return arrays[name]
