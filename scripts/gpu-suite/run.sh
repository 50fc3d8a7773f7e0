#!/usr/bin/env bash
# Runs the parts one after the other, each under a time limit; one that fails does not stop the rest.
# shellcheck disable=SC2329  # `part` calls the functions of parts in a bash of its own
set -u

here=$(cd "$(dirname "$0")" && pwd)
usage() {
  cat <<END
Usage: run.sh [--data FOLDER] [--out FOLDER] [--quick] [--only PART]...

  --data FOLDER  CIFAR-10 or CIFAR-100, as train_cifar reads it; without, the built-in images
  --out FOLDER   for results.json and what each part printed [default: results beside run.sh]
  --quick        measure the smallest sizes only: whether all runs, not how fast
  --only PART    run this part; may be given several times [default: all]

Parts:
  machine           the GPU, its driver and the processor
  conformance       each instruction that the kernels use, against the emulator, bit for bit
$(for program in "$here"/bin/tests/*; do printf '  %-17s GPU tests of this package\n' "$(basename "$program")"; done)
  memcheck          those of gaternet-kernels under compute-sanitizer, where it is installed
  racecheck         the same, for races in shared memory
  conv              convolutions at densities from 1 to 0.1, and cuDNN's where PyTorch is installed
  train-speed       training of plain and gated networks, and PyTorch's where it is installed
  train             a training of a gated ResNet-20, on --data if it is given
  evaluate          its model on the GPU and on the processor, which must agree

Exits with 1 if a part failed or ran out of time. A part that cannot run here is skipped.
END
}

data=()
out=$here/results
quick=no
wanted=()
while [ $# -gt 0 ]; do
  case $1 in
    --data | --out | --only)
      [ $# -ge 2 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --data) data=(--data "$2") ;;
        --out) out=$2 ;;
        *) wanted+=("$2") ;;
      esac
      shift 2
      ;;
    --quick) quick=yes; shift ;;
    --help) usage; exit ;;
    *) echo "run.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
  esac
done
for name in "${wanted[@]}"; do
  usage | grep -qE "^  $name +" || { echo "run.sh: there is no part $name" >&2; usage >&2; exit 2; }
done
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)

export GATERNET_CUBINS=$here/cubins GATERNET_CONFORMANCE=$here/conformance
no_gpu=""
gpu=$("$here/bin/conv2d_cuda" --probe 2>&1) || no_gpu=${gpu#error: }

# Text as a JSON string.
quoted() { printf '"%s"' "$(tr -d '\000-\037' <<<"$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

rows=()
failed=0

# Written after each part, so that nothing is lost if the machine goes away.
write_results() {
  local separator="" row
  {
    printf '{\n  "commit": %s,\n  "date": %s,\n  "gpu": %s,\n  "parts": [\n' "$(quoted "$(cat "$here/commit")")" \
      "$(quoted "$(date -u +%Y-%m-%dT%H:%M:%SZ)")" "$(quoted "${no_gpu:-$gpu}")"
    for row in "${rows[@]}"; do
      printf '%s    %s' "$separator" "$row"
      separator=$',\n'
    done
    printf '\n  ]\n}\n'
  } >"$out/results.json.tmp" && mv "$out/results.json.tmp" "$out/results.json" || failed=1
}

# report NAME RESULT SECONDS DETAIL: a row of the table and of results.json. Lines of the output that are JSON objects
# are kept there.
report() {
  local lines="" result=$2
  [ -f "$out/$1.txt" ] && lines=$(grep '^{.*}$' "$out/$1.txt" | paste -sd, -)
  [ "$result" = SKIPPED ] && result="SKIPPED($4)"
  printf '%-17s %8s  %s\n' "$1" "$3" "$result${4:+$([ "$2" = SKIPPED ] || echo ": $4")}"
  rows+=("{\"part\": $(quoted "$1"), \"result\": $(quoted "$2"), \"seconds\": $3, \"detail\": $(quoted "$4"), \"lines\": [$lines]}")
  write_results
}

# Of a test program: how many passed and failed, and why some did nothing; of another, its last line that is not an object.
detail_of() {
  local counts skipped
  counts=$(grep '^test result:' "$1" | head -1 | grep -oE '[0-9]+ (passed|failed)' | paste -sd, - | sed 's/,/, /')
  if [ -z "$counts" ]; then
    grep -v '^{.*}$' "$1" | grep . | tail -1 | cut -c1-120
    return
  fi
  skipped=$(grep -o 'SKIPPED: .*' "$1" | sort | uniq -c | sed -E 's/^ *([0-9]+) SKIPPED: /\1 skipped: /' | paste -sd';' -)
  echo "$counts${skipped:+, $skipped}"
}

# part NAME LIMIT NEED COMMAND...: runs it for at most LIMIT seconds. NEED: what must be here, `gpu`, a program, or `-`.
part() {
  local name=$1 limit=$2 need=$3 start status seconds detail
  shift 3
  [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
  rm -f "$out/$name.txt"
  if [ "$need" != - ] && [ -n "$no_gpu" ]; then
    report "$name" SKIPPED 0 "$no_gpu"
    return
  fi
  if [ "$need" != - ] && [ "$need" != gpu ] && ! command -v "$need" >/dev/null; then
    report "$name" SKIPPED 0 "$need is not installed"
    return
  fi
  start=$(date +%s.%N)
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
  status=$?
  seconds=$(awk -v start="$start" -v end="$(date +%s.%N)" 'BEGIN { printf "%.1f", end - start }')
  detail=$(detail_of "$out/$name.txt")
  case $status in
    0) report "$name" PASSED "$seconds" "$detail" ;;
    124 | 137) failed=1; report "$name" FAILED "$seconds" "more than $limit s" ;;
    *) failed=1; report "$name" FAILED "$seconds" "exit code $status: $detail" ;;
  esac
}

machine() {
  printf '%s, %s cores, %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv,noheader || return 1
  fi
  echo "${no_gpu:-$gpu}"
}

# tests PROGRAM ARGUMENT...: after a failure each failed test again in a process of its own, since all that a process asks of
# the GPU fails after the first error of a kernel.
tests() {
  local program=$1 log name alone=0
  shift
  log=$(mktemp)
  "$program" --nocapture "$@" 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]}
  if [ "$status" != 0 ]; then
    while read -r name; do
      echo "again, alone: $name"
      "$program" --exact "$name" 2>&1 </dev/null && continue
      echo "fails alone too: $name"
      alone=$((alone + 1))
    done < <(sed -n '/^failures:$/,$ s/^    \([a-z0-9_:]*\)$/\1/p' "$log" | sort -u)
    echo "$alone tests fail alone too"
  fi
  rm -f "$log"
  return "$status"
}

conv() {
  local sizes=()
  [ "$quick" = no ] || sizes=(--layer 16x16@8k3 --batch 2 --run 1 --rotate 0)
  "$here/bin/conv2d_cuda" --json "${sizes[@]}" || return 1
  if [ ! -e "$here/bench/peers_cuda.py" ] || ! python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "measured, without cuDNN: PyTorch with CUDA is not installed"
    return
  fi
  python3 "$here/bench/peers_cuda.py" layers || return 1
  python3 "$here/bench/conv_ratios.py" "$out/conv.txt"
}

small_gater="--gater-width 0.25 --gater-depth 8 --gater-pool 4 --bottleneck 4"

# train_cifar ARGUMENT...: on the GPU, of quick networks if that is asked for.
train_cifar() {
  local sizes=()
  [ "$quick" = no ] || sizes=(--width 0.25 --train-images 3 --test-images 1 --batch-size 2)
  "$here/bin/train_cifar" --device cuda --overwrite "$@" "${sizes[@]}"
}

# The last epoch of each network, as an object.
train_speed() {
  local row name images=(--train-images 51200 --test-images 1000 --batch-size 512 --epochs 3)
  local rows=("resnet20 --dense" "resnet20 --lambda 0.01" "resnet20 --placement all --gater-depth 8 --gater-pool 2" "wrn28-10 --dense"
    "wrn28-10 --placement all --gater-depth 8 --gater-pool 2")
  [ "$quick" = no ] || { images=(--epochs 1); rows=("resnet20 --dense" "resnet20 $small_gater"); }
  for row in "${rows[@]}"; do
    # shellcheck disable=SC2086  # options of a row are words
    train_cifar --model $row "${images[@]}" --out "$out/speed" || return 1
    tail -1 "$out/speed/metrics.jsonl" | sed "s/^{/{\"op\":\"train\",\"model\":\"$row\",/"
  done
  rm -rf "$out/speed"
  if [ "$quick" = no ] && [ -e "$here/bench/peers_cuda.py" ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    for name in resnet20 wrn28-10; do
      python3 "$here/bench/peers_cuda.py" train --batch 512 --model "$name" || return 1
    done
  else
    echo "measured, without PyTorch"
  fi
}

train() {
  local sizes=(--epochs 15)
  # shellcheck disable=SC2206  # options are words
  [ "$quick" = no ] || sizes=(--epochs 1 $small_gater)
  train_cifar "$@" "${sizes[@]}" --lambda 0.01 --out "$out/model"
}

# Sums in another order may turn a gate or a prediction over here and there.
evaluate() {
  local device row
  local -A accuracy
  for device in cuda cpu; do
    row=$("$here/bin/evaluate" "$@" --json --device "$device" --checkpoint "$out/model/model.safetensors") || return 1
    echo "$row"
    accuracy[$device]=$(grep -oE '"accuracy": ?[0-9.]+' <<<"$row" | grep -oE '[0-9.]+$')
  done
  echo "accuracy ${accuracy[cuda]} on the GPU, ${accuracy[cpu]} on the processor"
  awk -v a="${accuracy[cuda]}" -v b="${accuracy[cpu]}" 'BEGIN { d = a - b; exit !(d * d <= 0.005 ^ 2) }'
}

export here out quick gpu no_gpu small_gater GATERNET_CUDA=real
export -f machine tests conv train_cifar train_speed train evaluate
kernels=$here/bin/tests/gaternet-kernels
sanitizer=(compute-sanitizer --error-exitcode 9)

printf '%-17s %8s  %s\n' part seconds result
part machine 60 - bash -c machine
part conformance 120 gpu bash -c 'tests "$@"' - "$kernels" conformance::
for program in "$here"/bin/tests/*; do
  part "$(basename "$program")" 900 gpu bash -c 'tests "$@"' - "$program" --skip conformance::
done
part memcheck 600 compute-sanitizer "${sanitizer[@]}" --tool memcheck "$kernels"
part racecheck 600 compute-sanitizer "${sanitizer[@]}" --tool racecheck "$kernels"
part conv 600 gpu bash -c conv
part train-speed 900 gpu bash -c train_speed
part train 900 gpu bash -c 'train "$@"' - "${data[@]}"
part evaluate 120 gpu bash -c 'evaluate "$@"' - "${data[@]}"
echo "$out/results.json"
exit $failed
