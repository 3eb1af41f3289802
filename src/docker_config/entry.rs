//! One entry under `auths`, from any author, and the credential in it.
//!
//! Pure. An error names the field, never its content.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::credential::Credential;

/// The user under which Azure issues identity tokens.
const AZURE_NULL_USER: &str = "00000000-0000-0000-0000-000000000000";

/// The reason an entry holds no credential that the kubelet uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// `null`, a text, a list.
    #[error("the entry is not an object")]
    NoObject,
    /// A field of another type.
    #[error("a field of the entry is not a string")]
    NoText,
    /// An `auth` that does not decode.
    #[error("`auth` is not base64 of username:password")]
    Auth,
    /// A username that would end at its colon in `auth` and at the registry.
    #[error("the username has a colon, which separates it from the password")]
    Colon,
    /// An identity token or a registry token alone.
    #[error("the entry holds only a token, which the kubelet does not use for pulls")]
    OnlyToken,
    /// An identity token of Azure.
    #[error(
        "the entry holds only an identity token for the null user of Azure, as `az acr login` writes it, which the kubelet does not use for pulls: store the name and password of a repository token or a service principal"
    )]
    AzureToken,
    /// An entry without a credential, as a credential store leaves it.
    #[error("the entry holds neither `auth` nor `username` and `password`")]
    NoCredential,
}

/// Parses one entry under `auths`; the `auth` field takes precedence over the other two, as in the kubelet.
pub(super) fn credential(entry: Value) -> Result<Credential, EntryError> {
    #[derive(Deserialize)]
    struct RawEntry {
        username: Option<String>,
        password: Option<SecretString>,
        auth: Option<SecretString>,
        identitytoken: Option<SecretString>,
        registrytoken: Option<SecretString>,
    }
    if !entry.is_object() {
        return Err(EntryError::NoObject);
    }
    let entry: RawEntry = serde_json::from_value(entry).map_err(|_| EntryError::NoText)?;
    let has_token = [&entry.identitytoken, &entry.registrytoken]
        .into_iter()
        .flatten()
        .any(|token| !token.expose_secret().is_empty());
    let credential = match (entry.auth.filter(|auth| !auth.expose_secret().is_empty()), entry.username) {
        (Some(auth), _) => Some(decode_auth(auth.expose_secret())?),
        (None, Some(username)) if username.contains(':') && entry.password.is_some() => {
            return Err(EntryError::Colon);
        }
        (None, username) => {
            username.zip(entry.password).map(|(username, password)| Credential { username, password })
        }
    };
    match credential {
        Some(it) if has_token && it.password.expose_secret().is_empty() => {
            Err(if it.username == AZURE_NULL_USER { EntryError::AzureToken } else { EntryError::OnlyToken })
        }
        Some(credential) => Ok(credential),
        None if has_token => Err(EntryError::OnlyToken),
        None => Err(EntryError::NoCredential),
    }
}

/// The base64 that the kubelet accepts: with padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes `auth`: base64 of `username:password`, with line ends inside.
pub(super) fn decode_auth(auth: &str) -> Result<Credential, EntryError> {
    let text = decode_base64(auth).ok_or(EntryError::Auth)?;
    let (username, password) = text.expose_secret().split_once(':').ok_or(EntryError::Auth)?;
    Ok(Credential { username: username.to_owned(), password: password.into() })
}

/// Decodes base64 of UTF-8 text, with line ends inside.
pub(super) fn decode_base64(text: &str) -> Option<SecretString> {
    let compact: SecretString = text.split(['\r', '\n']).collect::<String>().into();
    let bytes: SecretSlice<u8> = LENIENT.decode(compact.expose_secret()).ok()?.into();
    str::from_utf8(bytes.expose_secret()).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(entry: Value) -> Option<EntryError> {
        credential(entry).err()
    }

    #[test]
    fn auth_takes_precedence_over_the_other_fields() {
        let entry = json!({"auth": "cm9ib3Q6cHc=", "username": "x", "password": "y", "identitytoken": "t"});
        let credential = credential(entry).expect("a credential");
        assert_eq!((credential.username.as_str(), credential.password.expose_secret()), ("robot", "pw"));
    }

    #[test]
    fn entry_without_a_credential_is_named_by_its_cause() {
        // Base64 of the null user of Azure and an empty password.
        let azure = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==";
        for (entry, expect) in [
            (json!({}), EntryError::NoCredential),
            (json!({"email": "a@b"}), EntryError::NoCredential),
            (json!({"auth": null}), EntryError::NoCredential),
            (json!({"auth": "", "username": "robot"}), EntryError::NoCredential),
            (json!(null), EntryError::NoObject),
            (json!("cm9ib3Q6cHc="), EntryError::NoObject),
            (json!({"auth": 1}), EntryError::NoText),
            (json!({"auth": "!"}), EntryError::Auth),
            (json!({"username": "a:b", "password": "pw"}), EntryError::Colon),
            (json!({"identitytoken": "t"}), EntryError::OnlyToken),
            (json!({"auth": "cm9ib3Q6", "identitytoken": "t"}), EntryError::OnlyToken),
            (json!({"auth": azure, "identitytoken": "t"}), EntryError::AzureToken),
        ] {
            assert_eq!(error(entry.clone()), Some(expect), "{entry}");
        }
        // An access token of Azure is the password of the same user.
        assert_eq!(error(json!({"username": AZURE_NULL_USER, "password": "pw", "identitytoken": "t"})), None);
        assert_eq!(error(json!({"auth": azure})), None, "its empty password is reported as such");
    }
}
