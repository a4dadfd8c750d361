#!/usr/bin/env bash
# A real Kubernetes cluster out of nothing, in network namespaces of its own: ready in some ten seconds.
#   NODES=2 ./up.sh       with so many nodes (1 if not said; with 0 nothing runs, also no DNS)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
NODES=${NODES:-1}
began=$(date +%s%N)
step() { log "[$(( ($(date +%s%N) - began) / 1000000 )) ms] $*"; }

[ "$(id -u)" = 0 ] || die "needs root"
[ -d /sys/fs/cgroup/memory ] || die "needs cgroup v1 hierarchies below /sys/fs/cgroup"
[ -x "$BIN/kubelet" ] || die "not built: run build.sh first"
[ ! -e "$RUN/up" ] || die "already up, or half up: run down.sh first"
mkdir -p "$RUN"/{pid,log,images}
touch "$RUN/up"
# The kubelet changes these for the whole machine; down.sh puts them back.
for key in kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom kernel.keys.root_maxkeys kernel.keys.root_maxbytes; do
  echo "$key=$(sysctl -n $key)"
done > "$RUN/sysctl.before"

# Network: a bridge without a way out.
ip netns add "$NAME"
within ip link set lo up
within ip link add bridge0 type bridge
within ip addr add "$CONTROL_IP/24" dev bridge0
within ip link set bridge0 up
within sysctl -qw net.ipv4.ip_forward=0
make_cgroup "$NAME/control"
"$HERE/pki.sh"
step "network and certificates"

"$HERE/control.sh" start etcd
wait_for 30 etcd within curl -sf http://127.0.0.1:2379/health
for process in apiserver controller-manager scheduler; do "$HERE/control.sh" start $process; done
for node in $(seq "$NODES"); do "$HERE/node.sh" up "$node"; done        # they boot while the control plane starts
wait_for 90 apiserver kubectl get --raw=/readyz
step "API server"

sed "s/DNS_IP/$DNS_IP/" "$HERE/addons.yaml" | kubectl apply -f - >/dev/null
wait_for 60 "the default account" kubectl get serviceaccount default
for node in $(seq "$NODES"); do wait_for 90 "node n$node" kubectl get node "n$node"; done
if [ "$NODES" != 0 ]; then
  kubectl wait --for=condition=Ready node --all --timeout=90s >/dev/null
  step "$NODES node(s)"
  kubectl -n kube-system rollout status deployment/coredns --timeout=90s >/dev/null
fi
step "up; ./kubectl speaks to it, KUBECONFIG=$KUBECONFIG"
