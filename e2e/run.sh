#!/usr/bin/env bash
# Stories on a real cluster.
#   e2e/run.sh                     all of them
#   e2e/run.sh rescale bad_        those whose names contain one of these
#   e2e/run.sh measure             no stories: how soon rows come again after the deletion of a pod
# Brings up a cluster on this machine (as root, without Docker), with the images of this clone, and takes it down at the end.
#   KEEP=1          leaves it up, and uses it if it is up: e2e/cluster/kubectl speaks to it, e2e/cluster/down.sh ends it
#   KIND=1          a cluster of kind instead; needs Docker, kind, kubectl and helm
#   PROGRAMS=DIR    weir and weir-operator that were compiled before, instead of compiling them
#   JOBS=N          so many stories at once (2)
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=$PWD/e2e/cluster
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export WEIR_E2E_DUMPS=${WEIR_E2E_DUMPS:-$CARGO_TARGET_DIR/e2e}

if [ -z "${PROGRAMS:-}" ]; then
  cargo build --locked --workspace --bins
  PROGRAMS=$CARGO_TARGET_DIR/debug
fi
export WEIR_E2E_PROGRAMS=$PROGRAMS
images=$CARGO_TARGET_DIR/images
"$cluster/build.sh"
images/build.sh "$PROGRAMS" "$images"

if [ -n "${KIND:-}" ]; then
  export WEIR_E2E_NODE=$cluster/kind-node.sh
  kind get clusters | grep -qx weir-e2e || kind create cluster --config "$cluster/kind.yaml" --wait 120s
  [ -n "${KEEP:-}" ] || trap 'kind delete cluster --name weir-e2e' EXIT
  for archive in "$HOME"/.cache/weir/cluster/images/{versitygw,files}.tar "$images"/*.tar; do
    kind load image-archive --name weir-e2e "$archive"
  done
else
  export WEIR_E2E_NODE=$cluster/node.sh WEIR_E2E_KUBECTL=$cluster/kubectl WEIR_E2E_HELM=$cluster/helm
  if [ -n "${KEEP:-}" ]; then
    "$cluster/kubectl" get --raw=/readyz >/dev/null 2>&1 || { "$cluster/down.sh"; NODES=2 "$cluster/up.sh"; }
  else
    "$cluster/down.sh"
    trap '"$cluster/down.sh"' EXIT
    NODES=2 "$cluster/up.sh"
  fi
  "$cluster/load.sh" "$images"/*.tar
fi
case ${1:-} in
measure) cargo bench --locked -p weir-e2e --bench recovery ;;
*) cargo test --locked --workspace --test stories -- --test-threads "${JOBS:-2}" "$@" ;;
esac
