#!/bin/sh
# Lets regcred log in to Vault as its ServiceAccount, and read what policy.hcl says. Run it where `vault` reaches
# your Vault, with a VAULT_TOKEN that may write policies and auth methods; a second run changes nothing.
#
# A Vault in the cluster asks its own API server, as its own ServiceAccount (system:auth-delegator, which Vault's
# chart grants). One elsewhere has to be told whom to ask and as whom: KUBERNETES_HOST, KUBERNETES_CA_FILE and
# REVIEWER_TOKEN_FILE. Where the auth method is there already, none of this is touched.
set -eu

here=$(dirname "$0")
mount=${AUTH_MOUNT:-kubernetes}

if vault auth list | grep -q "^$mount/ "; then
    echo "auth/$mount is there, and stays as it is"
else
    set -- kubernetes_host="${KUBERNETES_HOST:-https://kubernetes.default.svc}"
    if [ -n "${KUBERNETES_CA_FILE:-}" ]; then
        set -- "$@" kubernetes_ca_cert=@"$KUBERNETES_CA_FILE" token_reviewer_jwt=@"$REVIEWER_TOKEN_FILE"
    fi
    vault auth enable -path="$mount" kubernetes
    vault write "auth/$mount/config" "$@"
fi
vault policy write regcred "$here/policy.hcl"
vault write "auth/$mount/role/regcred" @"$here/role.json"
