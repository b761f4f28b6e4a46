#!/usr/bin/env bash
# Trains one game for a while and leaves a parcel that the next call goes on from; see README.md.
#   bash benchmarks/gpu/train.sh FOLDER
set -eu
OUT=$1
PYTHON=${PYTHON:-python3}
GAME=${GAME:-pong}
PRESET=${PRESET:-atari100k_gumbel}
TRAIN_SECONDS=${TRAIN_SECONDS:-480}
PARCEL=${PARCEL:-benchmarks/results/gpu/parcel} # of the call before, if there was one
read -ra SETTINGS <<<"${SETTINGS:-}"            # of a new run, such as "--set num_simulations=8"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
RUN=$WORK/run
if [ -e "$PARCEL/manifest.json" ]; then
    "$PYTHON" -m benchmarks.gpu.parcel unpack "$PARCEL" "$RUN"
    what=(--resume "$RUN")
else
    what=(--game "$GAME" --preset "$PRESET" --no-episodes --out "$RUN" ${SETTINGS[@]+"${SETTINGS[@]}"})
fi
"$PYTHON" -m cli.main train "${what[@]}" --max-seconds "$TRAIN_SECONDS"
"$PYTHON" -m benchmarks.gpu.parcel pack "$RUN" "$OUT/parcel"
cp "$RUN/curve.png" "$RUN/progress.jsonl" "$OUT"
