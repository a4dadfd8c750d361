#!/usr/bin/env bash
# pki.sh: the cluster's authorities, certificates and kubeconfigs, below pki/. pki.sh node I: those of a node.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
umask 077
mkdir -p "$RUN/pki"; cd "$RUN/pki"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }

authority() {   # NAME COMMON-NAME
  key "$1"
  openssl req -x509 -new -key "$1.key" -days 30 -subj "/CN=$2" -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

certificate() { # NAME SUBJECT AUTHORITY USAGE [ALTERNATIVE-NAMES]
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -set_serial "0x1$(openssl rand -hex 15)" -days 30 -out "$1.crt" 2>/dev/null \
    -extfile <(echo "basicConstraints=critical,CA:FALSE"; echo "keyUsage=critical,digitalSignature"; echo "extendedKeyUsage=$4"
      [ -z "${5:-}" ] || echo "subjectAltName=$5")
  rm "$1.csr"
}

kubeconfig() {  # NAME
  cat > "$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$CONTROL_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: e2e, context: {cluster: e2e, user: $1}}]
current-context: e2e
YAML
}

if [ "${1:-}" = node ]; then
  node=n$2
  certificate "kubelet-$node" "/O=system:nodes/CN=system:node:$node" ca clientAuth
  kubeconfig "kubelet-$node"
  certificate "kubelet-server-$node" "/CN=$node" ca serverAuth "DNS:$node,IP:$(node_ip "$2"),IP:127.0.0.1"
  exit
fi
authority ca kubernetes-ca
authority front-proxy-ca front-proxy-ca
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
certificate apiserver "/CN=kube-apiserver" ca serverAuth "$names,IP:127.0.0.1,IP:$CONTROL_IP,IP:$API_SERVICE_IP"
certificate apiserver-kubelet "/CN=kube-apiserver-kubelet-client" ca clientAuth
certificate front-proxy "/CN=front-proxy-client" front-proxy-ca clientAuth
for user in "admin /O=system:masters/CN=admin" "controller-manager /CN=system:kube-controller-manager" \
    "scheduler /CN=system:kube-scheduler" "kube-proxy /CN=system:kube-proxy"; do
  certificate "${user% *}" "${user#* }" ca clientAuth
  kubeconfig "${user% *}"
done
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
