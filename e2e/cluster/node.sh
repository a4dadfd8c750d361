#!/usr/bin/env bash
# node.sh up I          boots node nI
# node.sh lose I        power failure: every process of the node at once; `up` boots it again, with its disk
# node.sh netdown I     pulls its cable; `netup I` puts it back
# node.sh exec I CMD…   a command within the node
# node.sh load I        takes an image archive from standard input
# node.sh down I        removes the node with all that it wrote
# node.sh restart-api-server 0    kills it and starts it again
set -euo pipefail
. "$(dirname "$0")/lib.sh"
command=$1 i=$2; shift 2
node=n$i namespace=$NAME-n$i folder=$RUN/n$i ip=$(node_ip "$i")
init() { cat "$folder/init.pid"; }

# A network namespace with a cable to the bridge and routes to the pods of every other node.
plug_in() {
  ip netns add "$namespace"
  ip link add "cable-$node" netns "$NAME" type veth peer name eth0 netns "$namespace"
  within ip link set "cable-$node" master bridge0 up
  nsenter --net="/run/netns/$namespace" bash -c "ip link set lo up; ip addr add $ip/24 dev eth0; ip link set eth0 up
    ip route add $SERVICE_NET via $CONTROL_IP; ip route add unreachable default"
  within ip route replace "$POD_NET.$i.0/24" via "$ip"
  local other
  for other in "$RUN"/n[0-9]*; do
    other=${other##*/n}
    [ "$other" != "$i" ] && [ -e "/run/netns/$NAME-n$other" ] || continue
    nsenter --net="/run/netns/$namespace" ip route replace "$POD_NET.$other.0/24" via "$(node_ip "$other")"
    nsenter --net="/run/netns/$NAME-n$other" ip route replace "$POD_NET.$i.0/24" via "$ip"
  done
}

# Everything of a node is below one process with its own pid and mount namespaces: to kill that one is a power failure.
boot() {
  mkdir -p "$folder"/{log,disk}
  rm -f "$folder/unshare.pid" "$folder/init.pid"
  [ -f "$RUN/pki/kubelet-$node.kubeconfig" ] || "$HERE/pki.sh" node "$i"
  [ -e "/run/netns/$namespace" ] || plug_in
  remove_cgroup "$NAME/$node" 2>/dev/null || true      # the kubelet loses seconds on each that a lost pod left
  make_cgroup "$NAME/$node/system"
  setsid bash -c '. "$0/lib.sh"; enter_cgroup "$NAME/$1/system"; echo $$ > "$2/unshare.pid"
    exec nsenter --net="/run/netns/$NAME-$1" \
      unshare --mount --uts --ipc --pid --fork --kill-child=KILL --mount-proc --propagation slave "$0/node-main.sh" "${1#n}"' \
    "$HERE" "$node" "$folder" </dev/null >>"$folder/log/node.log" 2>&1 &
  wait_for 10 "unshare of $node" test -s "$folder/unshare.pid"
  wait_for 10 "init of $node" pgrep -P "$(cat "$folder/unshare.pid")"
  pgrep -P "$(cat "$folder/unshare.pid")" > "$folder/init.pid"
}

remove() {
  local pid try
  for pid in $(cat "$folder/init.pid" "$folder/unshare.pid" 2>/dev/null); do ! running "$pid" || kill -KILL "$pid" || true; done
  for try in $(seq 30); do remove_cgroup "$NAME/$node" 2>/dev/null && break; done
  [ ! -e "/run/netns/$namespace" ] || { within ip link del "cable-$node" 2>/dev/null || true; ip netns del "$namespace"; }
  rm -rf --one-file-system "$folder"
}

case $command in
up) boot ;;
lose) running "$(init)" && kill -KILL "$(init)" ;;
down) remove ;;
exec) exec nsenter -t "$(init)" -m -p -u -i -n -- "$@" ;;
load) exec nsenter -t "$(init)" -m -p -u -i -n -- ctr -n k8s.io images import - ;;
netdown) within ip link set "cable-$node" down ;;
netup) within ip link set "cable-$node" up ;;
restart-api-server) "$HERE/control.sh" stop apiserver; "$HERE/control.sh" start apiserver ;;
*) die "what is $command?" ;;
esac
