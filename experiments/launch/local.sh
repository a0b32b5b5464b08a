#!/usr/bin/env bash
# Several processes on this machine work on one command: local.sh PROCESSES COMMAND...
#
#   experiments/launch/local.sh 2 table demo --preset smoke
#
# PYTHON is the interpreter (python by default), DEVICES the virtual CPU devices of each process (1).
# Process N reports to LOGS/process-N.log ("logs" by default); what process 0 prints is printed at the
# end. When a process fails, its last lines are shown, the others are ended, and the exit status is
# its own.
set -u
processes=${1:?how many processes?}
shift
python=${PYTHON:-python}
logs=${LOGS:-logs}
mkdir -p "$logs" || exit 2
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])') || exit 2
export JAXLEARN_COORDINATOR="127.0.0.1:$port" JAXLEARN_PROCESSES="$processes"
if [ "${JAX_PLATFORMS:-cpu}" = cpu ]; then
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=${DEVICES:-1}"
fi

running=()
end_all() { kill -TERM "${running[@]}" 2>/dev/null; }
trap end_all TERM INT
for ((i = 0; i < processes; i++)); do
  JAXLEARN_PROCESS_ID=$i "$python" -m experiments "$@" >"$logs/process-$i.out" 2>"$logs/process-$i.log" &
  running+=($!)
done
echo "$processes processes; logs in $logs" >&2

status=0
# looked for one by one: `wait -n` can miss one of several that end at once
while [ "${#running[@]}" -gt 0 ]; do
  for i in "${!running[@]}"; do
    kill -0 "${running[$i]}" 2>/dev/null && continue
    wait "${running[$i]}"
    code=$?
    unset "running[$i]"
    if [ "$code" -gt 1 ] && [ "$status" -lt 2 ]; then
      echo "process $i ended with status $code; its last lines (all in $logs/process-$i.log):" >&2
      tail -n 5 "$logs/process-$i.log" >&2
      end_all
      (sleep 50 && kill -KILL "${running[@]}") >/dev/null 2>&1 &
      killer=$!
    fi
    [ "$code" -gt "$status" ] && [ "$status" -lt 2 ] && status=$code
  done
  sleep 0.2
done
[ -n "${killer:-}" ] && kill "$killer" 2>/dev/null
[ "$status" -le 1 ] && cat "$logs/process-0.out"
exit "$status"
