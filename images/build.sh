#!/usr/bin/env bash
# images/build.sh [PROGRAMS [OUT]]: images of programs that were compiled before, without a network.
#   PROGRAMS   the folder with weir and weir-operator; target/release if not said
#   OUT        where the archives weir.tar and weir-operator.tar go; target/images if not said
#   VERSION    the version in tag and labels; that of Cargo.toml if not set
# Takes buildah, or else Docker. Does only what is needed: an archive is left alone if its program has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=${1:-target/release} out=${2:-target/images}
version=${VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
registry=ghcr.io/weir-dev
mkdir -p "$out"
out=$(cd "$out" && pwd)

if command -v buildah >/dev/null; then
  # Neither mounts nor a daemon: works in a container too.
  storage=(--storage-driver vfs --root "$out/.storage" --runroot "$out/.storage/run")
  build() { buildah "${storage[@]}" bud --quiet --isolation chroot --timestamp 0 "$@" >/dev/null; }
  save() { rm -f "$2" && buildah "${storage[@]}" push --quiet "$1" "docker-archive:$2:$1"; }
  clean() { buildah "${storage[@]}" rmi --all --force >/dev/null; rm -rf "$out/.storage"; }
elif docker info >/dev/null 2>&1; then
  build() { docker build --quiet "$@" >/dev/null; }
  save() { docker save "$1" -o "$2"; }
  clean() { :; }
else
  echo "images: needs buildah (apt-get install buildah) or Docker" >&2
  exit 1
fi

made=
for image in weir weir-operator; do
  stamp=$({ sha256sum "$programs/$image" images/Dockerfile images/rootfs.sh; echo "$version"; } | sha256sum)
  [ -f "$out/$image.tar" ] && [ "$(cat "$out/$image.stamp" 2>/dev/null)" = "$stamp" ] && continue
  images/rootfs.sh "$programs/$image" "images/rootfs/$image"
  build -f images/Dockerfile --build-arg ROOTFS=compiled --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --target "$image" -t "$registry/$image:$version" .
  save "$registry/$image:$version" "$out/$image.tar"
  echo "$stamp" > "$out/$image.stamp"
  echo "$registry/$image:$version: $(gzip -1 <"$out/$image.tar" | wc -c | awk '{ printf "%.1f MB compressed", $1 / 1e6 }')"
  made=yes
done
[ -z "$made" ] || { clean; rm -rf images/rootfs; }
