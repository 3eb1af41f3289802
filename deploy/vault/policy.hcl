# The rights of regcred in Vault, each with its reason: for KV version 2 at secret/, and the credentials below ci/.

# The value of a credential, when it is new.
path "secret/data/ci/*" {
  capabilities = ["read"]
}

# Its version without the value, which the poll reads every few seconds. Without this right regcred reports it once,
# and reads the value every refreshInterval.
path "secret/metadata/ci/*" {
  capabilities = ["read"]
}

# The token of a login is renewed, and revoked when another one replaces it.
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# A credential that an engine issues: set its path here and in `keys` of the store, and remove the `# ` of these lines.
# path "artifactory/token/puller" {
#   capabilities = ["read"]
# }
# Its lease is renewed, and revoked when another one has replaced it.
# path "sys/leases/renew" {
#   capabilities = ["update"]
# }
# path "sys/leases/revoke" {
#   capabilities = ["update"]
# }
