//! Texts that hide a secret: ciphertexts of other tools, hashes of passwords, keys and certificates.

use super::{Unusable, between};

/// The beginnings of ciphertexts: Ansible Vault, age, `openssl enc` as base64, Spring Cloud Config, YAML of Ansible.
const CIPHERTEXTS: [&str; 5] =
    ["$ANSIBLE_VAULT;", "age-encryption.org/v", "U2FsdGVkX1", "{cipher}", "!vault |"];

/// The marks around ciphertexts: SOPS and Hiera, Jasypt.
const MARKS: [(&str, &str); 2] = [("ENC[", "]"), ("ENC(", ")")];

/// The blocks that hold ciphertexts.
const ENCRYPTED_BLOCKS: [&str; 4] = [
    "-----BEGIN PGP MESSAGE-----",
    "-----BEGIN AGE ENCRYPTED FILE-----",
    "-----BEGIN CMS-----",
    "-----BEGIN PKCS7-----",
];

/// The beginnings of public keys of SSH.
const SSH_KEYS: [&str; 3] = ["ssh-rsa AAAA", "ssh-ed25519 AAAA", "ecdsa-sha2-nistp"];

/// The hashes of `crypt`, each with its shortest length.
const HASHES: [(&str, usize); 12] = [
    ("$2a$", 60),
    ("$2b$", 60),
    ("$2y$", 60),
    ("$apr1$", 30),
    ("$1$", 26),
    ("$5$", 48),
    ("$6$", 91),
    ("$y$", 40),
    ("$argon2id$", 50),
    ("$argon2i$", 50),
    ("{SHA}", 33),
    ("{SSHA}", 36),
];

pub(super) fn find(text: &str) -> Option<Unusable> {
    let text = text.trim();
    if is_ciphertext(text) {
        Some(Unusable::Encrypted)
    } else if is_hash(text) || text.split_once(':').is_some_and(|(_, rest)| is_hash(rest)) {
        Some(Unusable::Hash)
    } else if text.starts_with("-----BEGIN ") || SSH_KEYS.iter().any(|start| text.starts_with(start)) {
        Some(Unusable::Pem)
    } else {
        None
    }
}

fn is_ciphertext(text: &str) -> bool {
    CIPHERTEXTS.iter().any(|start| text.starts_with(start))
        || MARKS.iter().any(|(open, close)| between(text, open, close).is_some())
        || ENCRYPTED_BLOCKS.iter().any(|block| text.starts_with(block))
        || is_transit(text)
        // A ciphertext of AWS KMS and one of dotenvx, both as base64.
        || ["AQICAH", "encrypted:"].iter().any(|start| {
            text.strip_prefix(start).is_some_and(|rest| rest.len() >= 100 && rest.chars().all(is_base64))
        })
}

/// Returns true for a ciphertext of Vault's transit engine: `vault:v1:…`.
fn is_transit(text: &str) -> bool {
    let Some((version, rest)) = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_digit())
        && !rest.is_empty()
        && rest.chars().all(is_base64)
}

fn is_hash(text: &str) -> bool {
    HASHES.iter().any(|(start, length)| {
        // The parts of the hashes of `crypt` stand between dollar signs.
        let has_parts = !start.starts_with('$') || text.matches('$').count() >= 3;
        text.starts_with(start)
            && text.len() >= *length
            && has_parts
            && text[start.len()..].chars().all(|c| is_base64(c) || matches!(c, '.' | '$' | ','))
    })
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_near_misses};
    use super::*;

    #[test]
    fn ciphertext_is_recognised() {
        let kms = format!("AQICAHh{}", "a".repeat(120));
        check(
            find,
            Unusable::Encrypted,
            &[
                "ENC[AES256_GCM,data:p673w==,iv:YY=,tag:UQ=,type:str]",
                "ENC[PKCS7,MIIB]",
                "ENC(x8Jk2=)",
                "$ANSIBLE_VAULT;1.1;AES256\n6162",
                "age-encryption.org/v1\n-> X25519 x",
                "vault:v1:8SDd3WHDOjf7=",
                "-----BEGIN PGP MESSAGE-----\n\nhQ\n",
                "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl",
                "{cipher}8f2a",
                "U2FsdGVkX18=",
                "!vault |\n  $ANSIBLE_VAULT;1.1;AES256",
                &kms,
                &format!("encrypted:{kms}"),
            ],
        );
        check_near_misses(
            find,
            &[
                "ENC",
                "ENC[",
                "ENC[]",
                "ENCRYPT(x)y",
                "$ANSIBLE_VAULT",
                "age",
                "vault:v1:",
                "vault:vx:abc",
                "vault:1:abc",
                "vault:v1:a b",
                "AQICAHpw",
                "encrypted:pw",
                "{ciphers}",
            ],
        );
    }

    #[test]
    fn hash_of_a_password_is_recognised() {
        let bcrypt = "$2y$05$OLmfg0MhYdcAm0BGDmyxvuCNv1UAvZnI7GWBFqD0ZpVoWnM6EqZFG";
        check(
            find,
            Unusable::Hash,
            &[
                bcrypt,
                &format!("robot:{bcrypt}"),
                "robot:$apr1$eoIwn2Cx$YxQd6lcL5mlb8dyn0JqRx/",
                "robot:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
                "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
            ],
        );
        check_near_misses(
            find,
            &[
                "$2y$",
                "$2y$05$short",
                "$1$pw",
                "{SHA}",
                "robot:pw",
                "a:$6$x",
                "$y$!aAAAaaA0a!0aA!00!0!0A!a0A!aaaAaA0aA0",
                &bcrypt[1..],
            ],
        );
    }

    #[test]
    fn key_or_certificate_is_recognised() {
        check(
            find,
            Unusable::Pem,
            &[
                "-----BEGIN CERTIFICATE-----\nMII\n",
                "-----BEGIN RSA PRIVATE KEY-----\\nMII",
                "ssh-rsa AAAAB3 x",
            ],
        );
        check_near_misses(find, &["-----BEGIN", "----BEGIN x", "-----", "ssh-rsa", "ssh-rsa BBBB"]);
    }
}
