# What the scripts of this folder share: names, places, small functions. Sourced, never run.
# shellcheck shell=bash
export LC_ALL=C
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)          # the scripts
CACHE=${WEIR_CLUSTER_CACHE:-$HOME/.cache/weir/cluster}      # what build.sh made; may be thrown away
BIN=$CACHE/bin
NAME=${WEIR_CLUSTER:-weir-e2e}                              # the cluster; also its network namespace and its cgroup
RUN=${WEIR_CLUSTER_RUN:-/tmp/$NAME}                         # everything that a running cluster writes

NODE_NET=10.88.0                                            # nodes, on a bridge within the namespace; node i is .1i
CONTROL_IP=$NODE_NET.1
POD_NET=10.244                                              # pods of node i: $POD_NET.i.0/24
SERVICE_NET=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_IP=10.96.0.10
export KUBECONFIG=$RUN/pki/admin.kubeconfig

node_ip() { echo "$NODE_NET.$((10 + $1))"; }
log() { printf '%s %s\n' "$(date +%T.%3N)" "$*" >&2; }
die() { log "failed: $*"; exit 1; }

# `ip netns exec` would hide /sys/fs/cgroup: nsenter does not.
within() { nsenter --net="/run/netns/$NAME" "$@"; }
kubectl() { within "$BIN/kubectl" "$@"; }

# wait_for SECONDS WHAT COMMAND…: asks again until the command succeeds
wait_for() {
  local tries=$(($1 * 5)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { "$@" >&2 || true; die "timeout: $what"; }
    sleep 0.2
  done
}

# make_cgroup PATH: in every mounted v1 hierarchy. A cpuset takes tasks only when it has processors and memory nodes.
make_cgroup() {
  local hierarchy path part file
  for hierarchy in /sys/fs/cgroup/*/; do
    path=${hierarchy%/}
    for part in ${1//\// }; do
      path=$path/$part; mkdir -p "$path"
      for file in cpuset.cpus cpuset.mems; do
        [ ! -f "$path/$file" ] || [ -n "$(cat "$path/$file")" ] || cat "${path%/*}/$file" > "$path/$file"
      done
    done
  done
}

# remove_cgroup PATH: fails if something still runs in it
remove_cgroup() {
  local hierarchy try
  for try in 1 2 3 4 5 6 7 8 9 10; do
    for hierarchy in /sys/fs/cgroup/*/; do
      [ ! -d "$hierarchy$1" ] || find "$hierarchy$1" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    ls -d /sys/fs/cgroup/*/"$1" >/dev/null 2>&1 || return 0
    sleep 0.3
  done
  return 1
}

# enter_cgroup PATH: this shell and what it starts
enter_cgroup() { local hierarchy; for hierarchy in /sys/fs/cgroup/*/; do echo $$ > "$hierarchy$1/cgroup.procs"; done; }

# running PID: it lives, is no zombie (the reaper may be slow), and is in our cgroup, so never a number used again
running() { grep -q ":/$NAME/" "/proc/$1/cgroup" 2>/dev/null && ! grep -q '^State:.[ZX]' "/proc/$1/status" 2>/dev/null; }

# start NAME COMMAND…: a process of the control plane. Its pid is in pid/NAME, its output in log/NAME.log.
start() {
  local process=$1; shift
  rm -f "$RUN/pid/$process"
  setsid bash -c '. "$0/lib.sh"; enter_cgroup "$NAME/control"; echo $$ > "$1"; shift; exec nsenter --net="/run/netns/$NAME" "$@"' \
    "$HERE" "$RUN/pid/$process" "$@" </dev/null >>"$RUN/log/$process.log" 2>&1 &
  wait_for 5 "pid of $process" test -s "$RUN/pid/$process"
}

# stop NAME: at once; nothing here is worth a graceful end
stop() {
  local pid try
  [ -s "$RUN/pid/$1" ] || return 0
  pid=$(cat "$RUN/pid/$1")
  if running "$pid"; then
    kill -KILL "$pid"
    for try in $(seq 20); do running "$pid" || break; sleep 0.1; done
  fi
  rm -f "$RUN/pid/$1"
}
