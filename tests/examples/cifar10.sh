#!/usr/bin/env bash
# The main job as a user runs it, with its smallest preset: table, packed files, resuming after Ctrl-C and after a kill,
# evaluation in a fresh process, a sweep and its comparison. Usage: cifar10.sh PATH/cifar10
set -euo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_WAIT_POLICY=passive

fail() {
  echo "FAILED: $*" >&2
  tail -n 5 "$work"/*.log >&2
  exit 1
}
# A run's table without its seconds, and the checksums of its packed files.
results() {
  sed 's/,[^,]*$//' "runs/$1/table.csv"
  (cd "runs/$1" && sha256sum ./*.safetensors)
}
same() { diff <(results whole) <(results "$1") || fail "$1 differs from an unbroken run with one thread"; }
# Waits until run $1 has a file $2, or its process $3 has ended.
await() {
  local i
  for ((i = 0; i < 600; ++i)); do
    if [[ -e runs/$1/$2 ]]; then return 0; fi
    kill -0 "$3" 2>/dev/null || return 0
    sleep 0.1
  done
  fail "$1/$2 did not appear"
}

run=("$program" --preset tiny --methods "pm,qd,dq" --bits 2)
"${run[@]}" --name whole --threads 1 >whole.log 2>&1 || fail "an unbroken run"
for file in report.html log.jsonl manifest.json result.json table.md table.csv bytes.csv teacher.safetensors; do
  [[ -s runs/whole/$file ]] || fail "no $file"
done
grep -q 'PM 2 bits, no buckets' runs/whole/table.md || fail "no row of post-mortem quantization"

# Ctrl-C: the command that it prints goes on, and the result is that of an unbroken run, with two threads too. (A shell
# without job control starts programs in the background with SIGINT ignored; the program takes it all the same.)
"${run[@]}" --name stopped --threads 2 >stopped.log 2>&1 &
pid=$!
await stopped state/student-labels.safetensors $pid
kill -INT $pid 2>/dev/null || true
status=0
wait $pid || status=$?
((status == 130)) || fail "Ctrl-C ended the program with $status, expected 130"
command=$(sed -n 's/^  \(.*--resume.*\)$/\1/p' stopped.log)
[[ -n $command ]] || fail "no command to resume was printed"
eval "$command" >resumed.log 2>&1 || fail "resuming: $command"
same stopped

# kill -9, at any moment.
"${run[@]}" --name killed --threads 2 >killed.log 2>&1 &
pid=$!
await killed state/student-distilled.safetensors $pid
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"${run[@]}" --name killed --resume --threads 2 >resumed.log 2>&1 || fail "resuming after a kill"
same killed
"$program" --preset tiny --methods lsq --bits 2 --name killed --resume >more.log 2>&1 || fail "resuming with a method more"
for row in 'LSQ 2 bits' 'QD 2 bits' 'PM 2 bits, no buckets'; do
  grep -q "$row" runs/killed/table.md || fail "no row '$row' after resuming with a method more"
done
if "${run[@]}" --name killed --resume --seed 2 >other.log 2>&1; then fail "another seed resumed the run"; fi
grep -q 'other settings' other.log || fail "another seed was refused for another reason"

# The packed files alone, in a fresh process.
"$program" verify runs/whole >verify.log 2>&1 || fail "verify"
(($(grep -c ': equal$' verify.log) == $(($(wc -l <runs/whole/table.csv) - 1)))) || fail "verify left a row out"
if "$program" verify runs/none >none.log 2>&1; then fail "verify of a run that does not exist"; fi

# Activations of few bits.
"$program" --preset tiny --methods qd --bits 2 --activation-bits 3 --name pact >pact.log 2>&1 || fail "PACT"
"$program" verify runs/pact >>pact.log 2>&1 || fail "verify with PACT"
grep -q PactReLU pact.log || fail "no PACT in the student's summary"

# Two seeds and their comparison.
"$program" sweep --preset tiny --methods pm --bits 2 --seeds 1,2 --name both >sweep.log 2>&1 || fail "sweep"
for file in compare.html compare.csv compare.md; do [[ -s runs/both/$file ]] || fail "no $file"; done

# Arguments that make no sense.
for wrong in "--preset none" "--methods none" "--student none" "--data $work/none" "--bits 99 --methods qd" "--bits 0"; do
  # shellcheck disable=SC2086
  if "$program" --name wrong $wrong >wrong.log 2>&1; then fail "accepted: $wrong"; fi
  grep -q '^error: ' wrong.log || fail "no error for: $wrong"
  rm -rf runs/wrong
done
echo "all runs agree"
