#!/usr/bin/env bash
# Everything that a machine with a GPU should answer, in order; a part that fails ends none of the
# others.  bash benchmarks/gpu/run.sh [FOLDER]   (about 10 minutes; python3 must hold the packages)
set -u
cd "$(dirname "$0")/../.."
OUT=${1:-benchmarks/results/gpu}
PYTHON=${PYTHON:-python3}
export PYTHONPATH="${PYTHONPATH:-}${PYTHONPATH:+:}$PWD" PYTHONUNBUFFERED=1
mkdir -p "$OUT"

part() { # name, seconds at most, command: its output on the screen and in FOLDER/name.log
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    timeout "$seconds" "$@" 2>&1 | tee "$OUT/$name.log"
    echo "part $name: status ${PIPESTATUS[0]}, $((SECONDS - began)) s"
}

# Without the repository's options: that machine's pytest may be an older one.
part tests 240 "$PYTHON" -m pytest -c /dev/null --rootdir . -p no:cacheprovider \
    --import-mode=importlib -q tests/core/gpu
part search 240 "$PYTHON" -m benchmarks.gpu_search --out "$OUT/search" --forms f32 bf16
part learner 90 "$PYTHON" -m benchmarks.gpu_learner --out "$OUT/learner"
part search_compiled 300 "$PYTHON" -m benchmarks.gpu_search --out "$OUT/search_compiled" \
    --forms "bf16 compiled"
