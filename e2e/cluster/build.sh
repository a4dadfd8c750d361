#!/usr/bin/env bash
# Installs the packages and builds the binaries and images that up.sh needs: from nothing some 15 CPU minutes, seconds when they are
# there. Everything is kept in ~/.cache/weir/cluster. Needs root, a Debian with apt, and Go.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
mkdir -p "$BIN" "$CACHE/images"
exec 9>"$CACHE/.lock"; flock 9

packages() {
  command -v containerd && command -v runc && command -v nft && command -v conntrack && command -v ip && command -v jq &&
    command -v curl && command -v openssl && command -v buildah && [ -x /usr/lib/cni/ptp ]
}
packages >/dev/null || {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "needs containerd, runc, CNI plugins, nftables, conntrack, jq, curl, openssl, buildah"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends containerd runc \
      containernetworking-plugins iptables nftables conntrack ipset ethtool iproute2 jq curl openssl buildah; } >"$CACHE/apt.log" 2>&1 ||
    die "apt-get install: see $CACHE/apt.log"
}

# build NAME [ARGUMENTS…]: the Go program of that folder, if what it is made of has changed
build() {
  local program=$1 stamp; shift
  stamp=$(cat "$HERE/$program"/main.go "$HERE/$program"/go.mod | sha256sum)
  [ -x "$BIN/$program" ] && [ "$(cat "$BIN/$program.stamp" 2>/dev/null)" = "$stamp" ] && return
  log "builds $program"
  (cd "$HERE/$program" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -p "$(nproc)" -trimpath "$@" -o "$BIN/$program" .)
  echo "$stamp" > "$BIN/$program.stamp"
}

# Kubernetes reads its version from variables that its own build sets.
version=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v1/ { print $2; exit }' "$HERE/kube/go.mod")
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(echo "$version" | cut -d. -f2)"
  flags="$flags -X $package.gitTreeState=clean -X $package.gitCommit=$(printf '0%.0s' {1..40}) -X $package.buildDate=2026-01-01T00:00:00Z"
done
build kube -tags notest,grpcnotrace -ldflags "$flags"
build coredns -tags grpcnotrace -ldflags '-s -w'
build pause -ldflags '-s -w'
build files -ldflags '-s -w'
for component in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl etcd; do ln -sf kube "$BIN/$component"; done

# install NAME PACKAGE@VERSION: a Go program as its authors release it
install() {
  [ -x "$BIN/$1" ] && [ "$(cat "$BIN/$1.stamp" 2>/dev/null)" = "$2" ] && return
  log "builds $2"
  CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOBIN="$BIN" go install -trimpath -ldflags '-s -w' "$2"
  echo "$2" > "$BIN/$1.stamp"
}
install versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0
install helm helm.sh/helm/v3/cmd/helm@v3.22.0

pack() { python3 "$HERE/pack.py" "$@"; }
pack weir.local/pause:1 "$CACHE/images/pause.tar" 65532:65532 /pause "$BIN/pause:/pause"
pack weir.local/coredns:1 "$CACHE/images/coredns.tar" 65532:65532 /coredns "$BIN/coredns:/coredns"
pack weir.local/versitygw:1.8.0 "$CACHE/images/versitygw.tar" 65532:65532 /versitygw "$BIN/versitygw:/versitygw"
pack weir.local/files:1 "$CACHE/images/files.tar" 65532:65532 /files "$BIN/files:/files"
log "built: $(du -shL "$BIN" | cut -f1) in $BIN"
