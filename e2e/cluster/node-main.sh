#!/usr/bin/env bash
# The first process of a node, in its namespaces: runs containerd, kubelet and kube-proxy, and starts them again when they end.
set -u
i=$1
. "$(dirname "$0")/lib.sh"
node=n$i folder=$RUN/n$i
hostname "$node"

# The node's own disk and /run, where the machine's own would be.
mount --make-rshared /
for path in /var/lib/kubelet /var/lib/containerd /var/lib/cni /etc/cni/net.d /etc/containerd /var/log/pods /var/log/containers; do
  mkdir -p "$path" "$folder/disk$path"
  mount --bind "$folder/disk$path" "$path"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/containerd /run/netns /run/lock
for setting in net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.ipv4.conf.all.route_localnet=0; do
  sysctl -qw $setting 2>/dev/null || true
done

cat > /etc/containerd/config.toml <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "weir.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true   # where there is no CAP_SYS_RESOURCE, runc can't write a negative oom_score_adj
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
TOML
cat > /etc/cni/net.d/10-e2e.conflist <<JSON
{"cniVersion": "0.4.0", "name": "e2e", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": "$POD_NET.$i.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
# Images can't be pulled again here: nothing is collected.
cat > /var/lib/kubelet/config.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true, cacheTTL: 10s}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/kubelet-server-$node.crt
tlsPrivateKeyFile: $RUN/pki/kubelet-server-$node.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NAME/$node
failSwapOn: false
failCgroupV1: false
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
resolvConf: ""
volumePluginDir: /var/lib/kubelet/volumeplugins
podLogsDir: /var/log/pods
maxPods: 60
serializeImagePulls: false
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 10s
nodeLeaseDurationSeconds: 12
syncFrequency: 10s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 200Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
evictionPressureTransitionPeriod: 5s
logging: {verbosity: 2}
YAML
cat > "$folder/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $RUN/pki/kube-proxy.kubeconfig}
hostnameOverride: $node
clusterCIDR: $POD_NET.0.0/16
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
YAML

keep() {
  local process=$1; shift
  (while :; do
    "$@" >>"$folder/log/$process.log" 2>&1
    echo "$(date +%T) $process ended: $?" >>"$folder/log/$process.log"
    sleep 0.5
  done) &
}
keep containerd containerd --config /etc/containerd/config.toml
for try in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
for image in "$CACHE"/images/*.tar "$RUN"/images/*.tar; do
  [ ! -e "$image" ] || ctr -n k8s.io images import "$image" >>"$folder/log/images.log" 2>&1
done
labels=topology.kubernetes.io/zone=zone-$i
[ "$i" != 1 ] || labels=$labels,weir.dev/e2e-infrastructure=true
keep kubelet "$BIN/kubelet" --config /var/lib/kubelet/config.yaml --kubeconfig "$RUN/pki/kubelet-$node.kubeconfig" \
  --hostname-override "$node" --node-ip "$(node_ip "$i")" --root-dir /var/lib/kubelet --cert-dir /var/lib/kubelet/pki --node-labels "$labels"
keep kube-proxy "$BIN/kube-proxy" --config "$folder/kube-proxy.yaml" --v=1
while :; do wait; sleep 1; done
