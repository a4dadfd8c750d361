#!/usr/bin/env bash
# Ends what up.sh started, by recorded pids, and leaves nothing: no process, mount, namespace, cgroup, changed sysctl.
#   KEEP_LOGS=DIR ./down.sh     copies the logs there first
set -uo pipefail
. "$(dirname "$0")/lib.sh"
[ -e "$RUN/up" ] || exit 0

[ -z "${KEEP_LOGS:-}" ] || { mkdir -p "$KEEP_LOGS" && cp -r "$RUN/log" "$KEEP_LOGS"; }
for folder in "$RUN"/n[0-9]*; do
  [ -d "$folder" ] || continue
  [ -z "${KEEP_LOGS:-}" ] || cp -r "$folder/log" "$KEEP_LOGS/${folder##*/}"
  "$HERE/node.sh" down "${folder##*/n}"
done
for process in scheduler controller-manager apiserver etcd; do stop $process; done
# Whatever is still in our cgroups is ours.
for hierarchy in /sys/fs/cgroup/*/"$NAME"/; do
  [ ! -d "$hierarchy" ] || find "$hierarchy" -name cgroup.procs -exec cat {} +
done | sort -u | xargs -r kill -KILL 2>/dev/null
remove_cgroup "$NAME" || log "cgroups are left: $(ls -d /sys/fs/cgroup/*/"$NAME")"
for namespace in $(ip netns list | awk '{ print $1 }' | grep -E "^$NAME(-n[0-9]+)?$"); do ip netns del "$namespace"; done
[ ! -f "$RUN/sysctl.before" ] || sysctl -qp "$RUN/sysctl.before"
rm -rf --one-file-system "$RUN"
