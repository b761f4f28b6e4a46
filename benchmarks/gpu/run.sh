#!/usr/bin/env bash
# Everything that a machine with a GPU should answer, in order; a part that fails ends none of the
# others.  [PARTS="..."] bash benchmarks/gpu/run.sh [FOLDER]   (python3 must hold the packages)
# In ten minutes: the parts tests, search and learner (unless told), or the part train.
set -u
cd "$(dirname "$0")/../.."
OUT=${1:-benchmarks/results/gpu}
PYTHON=${PYTHON:-python3}
PARTS=${PARTS:-tests search learner}
export PYTHONPATH="${PYTHONPATH:-}${PYTHONPATH:+:}$PWD" PYTHONUNBUFFERED=1
mkdir -p "$OUT"

part() { # name, seconds at most, command: its output on the screen and in FOLDER/name.log
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    [[ " $PARTS " == *" $name "* ]] || return 0
    timeout "$seconds" "$@" 2>&1 | tee "$OUT/$name.log"
    local status=${PIPESTATUS[0]}
    echo "part $name: status $status, $((SECONDS - began)) s"
    if ((status)); then FAILED=1; fi
}

FAILED=0
# Without the repository's options: that machine's pytest may be an older one.
part tests 200 "$PYTHON" -m pytest -c /dev/null --rootdir . -p no:cacheprovider \
    --import-mode=importlib -q tests/core/gpu
part search 220 "$PYTHON" -m benchmarks.gpu_search --out "$OUT/search" --forms f32 bf16
part learner 90 "$PYTHON" -m benchmarks.gpu_learner --out "$OUT/learner"
part search_compiled 300 "$PYTHON" -m benchmarks.gpu_search --out "$OUT/search_compiled" \
    --forms "bf16 compiled"
part train 580 bash benchmarks/gpu/train.sh "$OUT"
exit $FAILED
