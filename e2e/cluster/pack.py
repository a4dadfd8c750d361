#!/usr/bin/env python3
"""pack.py REF OUT.tar USER ENTRYPOINT SOURCE:TARGET...

Packs files into an image of one layer FROM scratch (a docker archive). The same files give the same bytes each time.
"""
import hashlib
import io
import json
import os
import sys
import tarfile


def add(archive, name, data, mode=0o644, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = len(data), mode, kind
    archive.addfile(entry, io.BytesIO(data))


def layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "tmp", b"", 0o1777, tarfile.DIRTYPE)
        for pair in files:
            source, target = pair.rsplit(":", 1)
            with open(source, "rb") as file:
                add(archive, target.lstrip("/"), file.read(), 0o755 if os.access(source, os.X_OK) else 0o644)
    return out.getvalue()


def main():
    reference, out, user, entrypoint, *files = sys.argv[1:]
    content = layer(files)
    digest = hashlib.sha256(content).hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"User": user, "Entrypoint": [entrypoint], "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": [digest + ".tar"]}]
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, name, config)
        add(archive, digest + ".tar", content)
        add(archive, "manifest.json", json.dumps(manifest).encode())


main()
