#!/bin/sh
# Creates the policy of policy.hcl and a role for the ServiceAccount of regcred. Run it where `vault` or `bao` reaches
# your Vault or OpenBao, with a VAULT_TOKEN that may write policies and auth methods; a second run changes nothing.
#
# A Vault in the cluster reviews tokens at its own API server, as its own ServiceAccount (system:auth-delegator, which
# Vault's chart grants). A Vault elsewhere needs the API server, its CA and a reviewer's token: KUBERNETES_HOST,
# KUBERNETES_CA_FILE and REVIEWER_TOKEN_FILE. An auth method that exists already is not changed.
set -eu

here=$(dirname "$0")
mount=${AUTH_MOUNT:-kubernetes}
if command -v vault >/dev/null; then
    client=vault
elif command -v bao >/dev/null; then
    client=bao
else
    echo "neither vault nor bao is installed: install one of them" >&2
    exit 1
fi

if "$client" auth list | grep -q "^$mount/ "; then
    echo "auth/$mount exists and is not changed"
else
    set -- kubernetes_host="${KUBERNETES_HOST:-https://kubernetes.default.svc}"
    if [ -n "${KUBERNETES_CA_FILE:-}" ]; then
        set -- "$@" kubernetes_ca_cert=@"$KUBERNETES_CA_FILE" token_reviewer_jwt=@"$REVIEWER_TOKEN_FILE"
    fi
    "$client" auth enable -path="$mount" kubernetes
    "$client" write "auth/$mount/config" "$@"
fi
# OpenBao counts the writes of a policy, also of the same text.
if [ "$("$client" policy read regcred 2>/dev/null)" != "$(cat "$here/policy.hcl")" ]; then
    "$client" policy write regcred "$here/policy.hcl"
fi
"$client" write "auth/$mount/role/regcred" @"$here/role.json"
