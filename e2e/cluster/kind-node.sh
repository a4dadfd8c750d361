#!/usr/bin/env bash
# node.sh for a cluster of kind: the same commands, with the node's container.
set -euo pipefail
command=$1 i=$2; shift 2
# The first worker of kind bears no number.
node=weir-e2e-worker; [ "$i" = 1 ] || node=$node$i
case $command in
up) docker start "$node" >/dev/null ;;
lose) docker kill "$node" >/dev/null ;;
netdown) docker network disconnect kind "$node" ;;
netup) docker network connect kind "$node" ;;
exec) exec docker exec "$node" "$@" ;;
restart-api-server) docker exec weir-e2e-control-plane pkill -KILL kube-apiserver ;;   # the kubelet starts it again
load) exec docker exec -i "$node" ctr -n k8s.io images import - ;;
*) echo "what is $command?" >&2; exit 1 ;;
esac
