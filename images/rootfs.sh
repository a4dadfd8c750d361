#!/usr/bin/env bash
# images/rootfs.sh PROGRAM FOLDER: makes a folder with all that an image of this program holds: the program without its debug
# information, the libraries that it loads, certificates of public authorities, names for the user that it runs as.
set -euo pipefail
program=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder"/{etc/ssl/certs,usr/local/bin,tmp}
chmod 1777 "$folder/tmp"

strip -o "$folder/usr/local/bin/$(basename "$program")" "$program"
# A static program loads nothing, and ldd says so with an error.
{ ldd "$program" || true; } | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$folder$(dirname "$library")"
  cp -L "$library" "$folder$library"
done

certificates=/etc/ssl/certs/ca-certificates.crt
[ -f $certificates ] || { echo "rootfs: no $certificates: install ca-certificates" >&2; exit 1; }
cp -L $certificates "$folder$certificates"
echo 'hosts: files dns' > "$folder/etc/nsswitch.conf"
echo 'weir:x:65532:65532:weir:/:/sbin/nologin' > "$folder/etc/passwd"
echo 'weir:x:65532:' > "$folder/etc/group"
# The same files give the same image, whenever it is made.
find "$folder" -exec touch -h -d @0 {} +
