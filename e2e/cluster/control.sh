#!/usr/bin/env bash
# control.sh start|stop etcd|apiserver|controller-manager|scheduler: one process of the control plane. `stop` kills it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
PKI=$RUN/pki

etcd() {
  start etcd "$BIN/etcd" --name e2e --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster e2e=http://127.0.0.1:2380 --listen-metrics-urls http://127.0.0.1:2381
}

# A pod on a node that is gone is given up after EVICT_SECONDS (300 by Kubernetes' default).
apiserver() {
  start apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address="$CONTROL_IP" --advertise-address="$CONTROL_IP" --secure-port=6443 \
    --service-cluster-ip-range="$SERVICE_NET" --allow-privileged=true --anonymous-auth=false \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$PKI/apiserver-kubelet.crt" --kubelet-client-key="$PKI/apiserver-kubelet.key" \
    --enable-aggregator-routing=true --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
    --requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" \
    --default-not-ready-toleration-seconds="${EVICT_SECONDS:-10}" \
    --default-unreachable-toleration-seconds="${EVICT_SECONDS:-10}" \
    --event-ttl=1h --profiling=false --shutdown-delay-duration=0s --v=1
}

# A node that says nothing for GRACE_SECONDS is NotReady (50 by Kubernetes' default).
controller_manager() {
  start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$PKI/controller-manager.kubeconfig" \
    --authentication-kubeconfig="$PKI/controller-manager.kubeconfig" \
    --authorization-kubeconfig="$PKI/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
    --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/sa.key" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --client-ca-file="$PKI/ca.crt" --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
    --service-cluster-ip-range="$SERVICE_NET" --allocate-node-cidrs=false \
    --node-monitor-period=1s --node-monitor-grace-period="${GRACE_SECONDS:-16}s" \
    --kube-api-qps=100 --kube-api-burst=200 --v=1
}

scheduler() {
  start scheduler "$BIN/kube-scheduler" --kubeconfig="$PKI/scheduler.kubeconfig" \
    --authentication-kubeconfig="$PKI/scheduler.kubeconfig" --authorization-kubeconfig="$PKI/scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=100 --kube-api-burst=200 --v=1
}

case ${2:-} in etcd | apiserver | controller-manager | scheduler) ;; *) die "which process? $*" ;; esac
case $1 in
start) "${2//-/_}" ;;
stop) stop "$2" ;;
*) die "what is $1?" ;;
esac
