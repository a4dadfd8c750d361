#!/usr/bin/env bash
# How the operator does with many jobs: operator/benches/scale.rs beside an API server, without nodes: pods are played.
#   e2e/scale.sh                    10, 100, 1000 and 5000 jobs
#   e2e/scale.sh 10 100 --rest 30   what the bench takes
# Brings up a cluster of its own on this machine (as root) and takes it down at the end. Its logs are then in
# /tmp/weir-scale-logs, the operator's in /tmp/weir-scale-operator.log.
set -euo pipefail
cd "$(dirname "$0")/.."
export WEIR_CLUSTER=weir-scale WEIR_CLUSTER_RUN=/tmp/weir-scale
cluster=$PWD/e2e/cluster
. "$cluster/lib.sh"
"$cluster/build.sh"
bench=$(cargo bench --locked --workspace --bench scale --no-run --message-format=json |
  jq -r 'select(.target.name? == "scale" and .executable?) | .executable')

export KEEP_LOGS=/tmp/weir-scale-logs
"$cluster/down.sh"
trap '"$cluster/down.sh"' EXIT
NODES=0 "$cluster/up.sh"
# They would only say of each pod, again and again, that there is no node.
for process in scheduler controller-manager; do "$cluster/control.sh" stop $process; done
# Each coordinator has an address of its own.
within ip route add local 10.200.0.0/13 dev lo
within "$bench" "$@"
