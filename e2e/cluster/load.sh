#!/usr/bin/env bash
# load.sh ARCHIVE…: gives image archives (docker or OCI) to every node that runs, and to those that boot later.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
for archive in "$@"; do
  cp --reflink=auto "$archive" "$RUN/images/$(basename "$archive")"
  for folder in "$RUN"/n[0-9]*; do
    [ -d "$folder" ] && running "$(cat "$folder/init.pid")" || continue
    "$HERE/node.sh" load "${folder##*/n}" < "$archive" >/dev/null
  done
done
