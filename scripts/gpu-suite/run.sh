#!/usr/bin/env bash
# Runs the parts one after the other, each under a time limit; one that fails does not stop the rest.
set -u

here=$(cd "$(dirname "$0")" && pwd)
usage() {
  cat <<END
Usage: run.sh [--data FOLDER] [--out FOLDER] [PART...]

  --data FOLDER  CIFAR-10 or CIFAR-100, as train_cifar reads it; without, the built-in images
  --out FOLDER   for results.json and what each part printed [default: results beside run.sh]
  PART           run only these [default: all]

Parts:
  machine     the GPU, its driver and the processor
  kernels     every CUDA kernel against the f64 reference, on the GPU
  memcheck    some of them under compute-sanitizer, where it is installed
  racecheck   the same, races in shared memory
  unit        the tests of the CPU kernels, which the others are compared with
  conv-cpu    convolutions on this machine's processor, with and without gates
  train-cpu   one epoch of training on the processor
  evaluate-cpu  its model

Exits with 1 if a part failed or ran out of time. A part that cannot run here is skipped.
END
}

data=()
out=$here/results
wanted=()
while [ $# -gt 0 ]; do
  case $1 in
    --data | --out)
      [ $# -ge 2 ] || { echo "run.sh: $1 needs a folder" >&2; exit 2; }
      if [ "$1" = --data ]; then data=(--data "$2"); else out=$2; fi
      shift 2
      ;;
    --help) usage; exit ;;
    -*) echo "run.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) wanted+=("$1"); shift ;;
  esac
done
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)

export GATERNET_CUBINS=$here/cubins
gpu=no
{ nvidia-smi -L || ls /dev/nvidiactl; } >/dev/null 2>&1 && gpu=yes

# Text as a JSON string.
quoted() { printf '"%s"' "$(tr -d '\000-\037' <<<"$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

known=()
rows=()
failed=0

# report NAME RESULT SECONDS DETAIL: a row of the table and of results.json. Lines of the output that are JSON objects
# are kept there.
report() {
  local lines=""
  [ -f "$out/$1.txt" ] && lines=$(grep '^{.*}$' "$out/$1.txt" | paste -sd, -)
  printf '%-14s %-8s %8s  %s\n' "$1" "$2" "$3" "$4"
  rows+=("{\"part\": $(quoted "$1"), \"result\": $(quoted "$2"), \"seconds\": $3, \"detail\": $(quoted "$4"), \"lines\": [$lines]}")
}

# part NAME LIMIT NEED COMMAND...: runs it for at most LIMIT seconds. NEED: what must be here, `gpu`, a program, or `-`.
part() {
  local name=$1 limit=$2 need=$3 start status detail
  shift 3
  known+=("$name")
  [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
  rm -f "$out/$name.txt"
  if [ "$need" != - ] && [ $gpu = no ]; then
    report "$name" skipped 0 "no GPU"
    return
  fi
  if [ "$need" != - ] && [ "$need" != gpu ] && ! command -v "$need" >/dev/null; then
    report "$name" skipped 0 "$need is not installed"
    return
  fi
  start=$(date +%s.%N)
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
  status=$?
  local seconds
  seconds=$(awk -v start="$start" -v end="$(date +%s.%N)" 'BEGIN { printf "%.1f", end - start }')
  # Of a test program, its count; of another, its last line that is not an object.
  detail=$(grep '^test result:' "$out/$name.txt" | tail -1 | grep -oE '[0-9]+ (passed|failed)' | paste -sd, - | sed 's/,/, /')
  [ -n "$detail" ] || detail=$(grep -v '^{.*}$' "$out/$name.txt" | grep . | tail -1 | cut -c1-100)
  case $status in
    0) report "$name" ok "$seconds" "$detail" ;;
    124 | 137) failed=1; report "$name" time-out "$seconds" "more than $limit s" ;;
    *) failed=1; report "$name" failed "$seconds" "exit code $status: $detail" ;;
  esac
}

machine() {
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || return 1
  fi
  printf '%s, %s cores, %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)"
}

# Some kernels of each kind; the whole grid would take hours under a sanitizer.
sanitized=(gate device::buffers device::a_graph conv2d::an_empty_batch)
sanitizer=(compute-sanitizer --error-exitcode 9)
tests=("$here/bin/cuda" --test-threads 1)

printf '%-14s %-8s %8s  %s\n' part result seconds detail
export -f machine
part machine 60 - bash -c machine
part kernels 600 gpu env GATERNET_CUDA=real "${tests[@]}"
part memcheck 300 compute-sanitizer env GATERNET_CUDA=real "${sanitizer[@]}" --tool memcheck "${tests[@]}" "${sanitized[@]}"
part racecheck 300 compute-sanitizer env GATERNET_CUDA=real "${sanitizer[@]}" --tool racecheck "${tests[@]}" "${sanitized[@]}"
part unit 300 - "$here/bin/gaternet_kernels"
part conv-cpu 120 - "$here/bin/conv_throughput" --json --filter 160x160 --batch 64
part train-cpu 600 - "$here/bin/train_cifar" "${data[@]}" --epochs 1 --overwrite --out "$out/model"
part evaluate-cpu 120 - "$here/bin/evaluate" "${data[@]}" --json --checkpoint "$out/model/model.safetensors"

for name in "${wanted[@]}"; do
  if [[ " ${known[*]} " != *" $name "* ]]; then
    echo "run.sh: there is no part $name; there are: ${known[*]}" >&2
    failed=1
  fi
done

{
  printf '{\n  "commit": %s,\n  "date": %s,\n  "parts": [\n' \
    "$(quoted "$(cat "$here/commit")")" "$(quoted "$(date -u +%Y-%m-%dT%H:%M:%SZ)")"
  separator=""
  for row in "${rows[@]}"; do
    printf '%s    %s' "$separator" "$row"
    separator=$',\n'
  done
  printf '\n  ]\n}\n'
} >"$out/results.json.tmp" && mv "$out/results.json.tmp" "$out/results.json" || failed=1
echo "$out/results.json"
exit $failed
