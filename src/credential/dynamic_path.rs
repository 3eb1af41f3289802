//! Keys that are paths of a Vault's API, at which an engine issues a credential for each request.
//!
//! Pure. Such a key is `GET /PATH` or `POST /PATH`: no key of a KV engine has an empty part before a slash, so the two
//! kinds never meet. A path that a server could take for another one is refused, and so are those that manage the
//! server or log in.

use globset::GlobSet;

use super::Key;

/// The first or any later part of a path that is refused: the API of the server itself, also inside a namespace.
const REFUSED: [&str; 3] = ["sys", "auth", "cubbyhole"];

/// A part that no entry of `keys` names, to find the entries that admit any mount.
const ANY_MOUNT: &str = "\u{7f}";

/// The method of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Read,
    /// `POST`
    Write,
}

/// A path that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicPath<'a> {
    /// The method of the request.
    pub method: Method,
    /// The path after `/v1/`.
    pub path: &'a str,
}

/// A path that is never requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A part is of the server's own API.
    #[error("must not have a part sys, auth or cubbyhole: these belong to the server itself")]
    Server,
    /// A server may read the path as another one.
    #[error(
        "must be parts of ASCII letters, digits, `_`, `-`, `.`, `:`, `@` and `+` between single slashes, without \
         `.` and `..`"
    )]
    Spelling,
}

impl Method {
    /// Returns the name of the method in HTTP.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "GET",
            Self::Write => "POST",
        }
    }
}

impl Key {
    /// Creates the key of a path.
    #[must_use]
    pub fn from_path(method: Method, path: &str) -> Self {
        Self(format!("{} /{path}", method.name()))
    }

    /// Returns the path, if the key is one.
    #[must_use]
    pub fn dynamic_path(&self) -> Option<DynamicPath<'_>> {
        [Method::Read, Method::Write].into_iter().find_map(|method| {
            let path = self.0.strip_prefix(method.name())?.strip_prefix(" /")?;
            Some(DynamicPath { method, path })
        })
    }
}

impl DynamicPath<'_> {
    /// Returns the error of a path that is never requested, after the name of a namespace was put in.
    pub fn check(&self) -> Result<(), PathError> {
        check(self.path)
    }

    /// Returns true if an entry of `keys` names the path with its mount: an entry for any mount, such as `*`, was
    /// written for keys.
    #[must_use]
    pub fn is_named_by(&self, keys: &GlobSet) -> bool {
        let Some((_, rest)) = self.path.split_once('/') else { return false };
        let any_mount = keys.matches(format!("{ANY_MOUNT}/{rest}"));
        keys.matches(self.path).iter().any(|entry| !any_mount.contains(entry))
    }
}

/// Returns the error of a path that is never requested.
pub fn check(path: &str) -> Result<(), PathError> {
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:@+".contains(&byte))
    };
    if !path.contains('/') || !path.split('/').all(is_plain) {
        return Err(PathError::Spelling);
    }
    let mut parts = path.split('/');
    let is_refused = parts.any(|part| REFUSED.iter().any(|refused| part.eq_ignore_ascii_case(refused)));
    if is_refused { Err(PathError::Server) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    #[test]
    fn path_and_method_survive_in_the_key() {
        for method in [Method::Read, Method::Write] {
            let key = Key::from_path(method, "artifactory/token/puller");
            let path = key.dynamic_path().expect("a path");
            assert_eq!(path, DynamicPath { method, path: "artifactory/token/puller" });
            assert_eq!(path.check(), Ok(()));
        }
        for key in ["ci/ghcr", "GET", "GET a/b", "PUT /a/b", "/a/b", "get /a/b"] {
            assert_eq!(Key::from(key).dynamic_path(), None, "{key}");
        }
    }

    #[test]
    fn path_of_the_server_is_refused_however_spelled() {
        for path in [
            "sys/health",
            "SYS/raw/core",
            "Auth/token/create",
            "auth/token/create",
            "team-b/sys/policy",
            "team-b/auth/token/create",
            "v1/sys/health",
            "cubbyhole/a",
            "teams/auth",
        ] {
            assert_eq!(check(path), Err(PathError::Server), "{path}");
        }
    }

    #[test]
    fn path_that_could_mean_another_is_refused() {
        for path in [
            "/sys/health",
            "//sys/health",
            "a//b",
            "a/b/",
            "/a/b",
            "a/../sys/health",
            "a/./b",
            "..",
            "%73ys/health",
            "a/%2e%2e/sys",
            "a/b?list=true",
            "a/b#c",
            "a\\..\\sys",
            "a/b c",
            "a/b\n",
            "a/ö",
            "a;x/b",
            "token",
            "",
        ] {
            assert_eq!(check(path), Err(PathError::Spelling), "{path:?}");
        }
    }

    #[test]
    fn namespace_cannot_lead_to_the_server() {
        let key = Key::from_path(Method::Read, "artifactory/{{namespace}}/puller");
        for (name, expect) in [("web", Ok(())), ("sys", Err(PathError::Server))] {
            let key = key.in_namespace(&name.into());
            assert_eq!(key.dynamic_path().expect("a path").check(), expect);
        }
    }

    fn is_named(keys: &[&str], path: &str) -> bool {
        let globs = keys.iter().map(|it| Glob::new(it).expect("a glob"));
        DynamicPath { method: Method::Read, path }.is_named_by(&GlobSet::new(globs).expect("globs"))
    }

    #[test]
    fn only_an_entry_with_the_mount_names_a_path() {
        let path = "artifactory/token/puller";
        for keys in [&["artifactory/token/*"][..], &[path], &["*", "artifactory/**"]] {
            assert!(is_named(keys, path), "{keys:?}");
        }
        for keys in [&[][..], &["*"], &["**"], &["*/token/*"], &["ci/*"], &["artifactory/token"], &["?*/**"]]
        {
            assert!(!is_named(keys, path), "{keys:?}");
        }
    }
}
