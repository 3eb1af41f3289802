# What regcred may do in Vault, each with its reason: for KV version 2 at secret/, and the credentials below ci/.

# The value of a credential, when it is new.
path "secret/data/ci/*" {
  capabilities = ["read"]
}

# Its version without the value, which the poll asks for every few seconds. Without this regcred says so once, and
# reads the value every refreshInterval.
path "secret/metadata/ci/*" {
  capabilities = ["read"]
}

# The token that a login brought is kept alive, and given back where another takes its place.
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
