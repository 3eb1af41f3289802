//! Kubeconfig files.
//!
//! In go files, out comes one kubeconfig, as client-go would read it: empty values are unset, of equal keys the last
//! one counts, line breaks in base64 are ignored, and paths are relative to the directory of their file. The types of
//! kube parse more strictly and would send an empty token, so the tree is corrected before it is given to them.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use kube::config::{Kubeconfig, KubeconfigError};
use serde_json::{Map, Value};
use serde_saphyr::DuplicateKeyPolicy;

/// The reason why a file gives no kubeconfig. What the file holds is not quoted: it may be a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum KubeconfigReadError {
    /// The file does not exist.
    #[error("cannot read kubeconfig {}: no such file", .0.display())]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("cannot read kubeconfig {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// The file holds something else; the line is that of the first mistake.
    #[error("cannot read kubeconfig {}{}: not the YAML of a kubeconfig", .0.display(), .1.map(|line| format!(":{line}")).unwrap_or_default())]
    Malformed(PathBuf, Option<u64>),
    /// The files are of different kinds.
    #[error("cannot merge the files of KUBECONFIG: {0}")]
    Merge(KubeconfigError),
}

impl KubeconfigReadError {
    /// Returns the fix.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "pass an existing file with --kubeconfig",
            Self::Io(..) => "pass a file that can be read with --kubeconfig",
            Self::Malformed(..) => "pass another file with --kubeconfig, or correct this one",
            Self::Merge(_) => "name files of the same kind in KUBECONFIG",
        }
    }
}

/// Reads the files of `KUBECONFIG` and merges them: of each name, the first definition counts. Files that do not
/// exist are ignored; `None` if none exists.
pub(super) fn read_list(list: &OsStr) -> Result<Option<Kubeconfig>, KubeconfigReadError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in std::env::split_paths(list).filter(|file| !file.as_os_str().is_empty()) {
        let next = match read(&file) {
            Err(KubeconfigReadError::NotFound(_)) => continue,
            next => next?,
        };
        merged = Some(match merged {
            Some(merged) => merged.merge(next).map_err(KubeconfigReadError::Merge)?,
            None => next,
        });
    }
    Ok(merged)
}

/// Reads one file.
pub(super) fn read(file: &Path) -> Result<Kubeconfig, KubeconfigReadError> {
    let bytes = std::fs::read(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KubeconfigReadError::NotFound(file.to_owned()),
        _ => KubeconfigReadError::Io(file.to_owned(), error),
    })?;
    let text = decode(bytes).ok_or_else(|| KubeconfigReadError::Malformed(file.to_owned(), None))?;
    let directory = file.parent().unwrap_or(Path::new(""));
    parse(&text, directory)
        .ok_or_else(|| KubeconfigReadError::Malformed(file.to_owned(), line_of_mistake(&text)))
}

/// Decodes UTF-8, or UTF-16 with a byte order mark.
fn decode(bytes: Vec<u8>) -> Option<String> {
    match bytes[..] {
        [0xff, 0xfe, ref rest @ ..] => decode_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, ref rest @ ..] => decode_utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8(bytes).ok().map(|text| match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
    }
}

fn decode_utf16(bytes: &[u8], to_unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = bytes.chunks_exact(2).map(|pair| to_unit([pair[0], pair[1]]));
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

/// Parses the documents of a file; an empty file is an empty kubeconfig.
fn parse(text: &str, directory: &Path) -> Option<Kubeconfig> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).ok()?;
    documents.into_iter().filter(|it| !it.is_null()).try_fold(
        Kubeconfig::default(),
        |merged, mut document| {
            normalize(&mut document, directory);
            merged.merge(serde_json::from_value(document).ok()?).ok()
        },
    )
}

/// Returns the line at which the stricter parser of kube stops.
fn line_of_mistake(text: &str) -> Option<u64> {
    match Kubeconfig::from_yaml(text) {
        Err(KubeconfigError::Parse(error)) => error.location().map(|it| it.line()),
        _ => None,
    }
}

/// Brings a document into the form in which the types of kube mean what client-go reads.
fn normalize(document: &mut Value, directory: &Path) {
    remove_empty(document);
    for cluster in named(document, "clusters", "cluster") {
        resolve(cluster, "certificate-authority", directory);
        remove_line_breaks(cluster, "certificate-authority-data");
    }
    for user in named(document, "users", "user") {
        for key in ["client-certificate", "client-key", "tokenFile"] {
            resolve(user, key, directory);
        }
        for key in ["client-certificate-data", "client-key-data"] {
            remove_line_breaks(user, key);
        }
        if let Some(exec) = user.get_mut("exec").and_then(Value::as_object_mut) {
            normalize_exec(exec, directory);
        }
    }
    for context in named(document, "contexts", "context") {
        context.entry("cluster").or_insert_with(|| Value::from(""));
    }
}

/// Removes the entries that are null or empty: Go has no difference between them and absent ones.
fn remove_empty(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value != "");
            // Extensions belong to other programs, and an empty variable is not an absent one.
            let fields = map.iter_mut().filter(|(key, _)| *key != "extensions" && *key != "env");
            fields.for_each(|(_, value)| remove_empty(value));
        }
        Value::Array(list) => list.iter_mut().for_each(remove_empty),
        _ => {}
    }
}

/// Returns the maps under `key` of the named entries of a list.
fn named<'a>(
    document: &'a mut Value,
    list: &str,
    key: &'a str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let entries = document.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    entries.filter_map(move |entry| entry.get_mut(key)?.as_object_mut())
}

/// Resolves a path relative to the directory of its file.
fn resolve(map: &mut Map<String, Value>, key: &str, directory: &Path) {
    if let Some(Value::String(path)) = map.get_mut(key)
        && let Some(resolved) = directory.join(&*path).to_str()
    {
        resolved.clone_into(path);
    }
}

fn remove_line_breaks(map: &mut Map<String, Value>, key: &str) {
    if let Some(Value::String(data)) = map.get_mut(key) {
        data.retain(|it| it != '\n' && it != '\r');
    }
}

/// A command with a `/` is a path; another one is looked up in `PATH`. A variable without a value is empty.
fn normalize_exec(exec: &mut Map<String, Value>, directory: &Path) {
    if exec.get("command").and_then(Value::as_str).is_some_and(|it| it.contains('/')) {
        resolve(exec, "command", directory);
    }
    let variables = exec.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten();
    for variable in variables.filter_map(Value::as_object_mut) {
        let value = variable.entry("value").or_insert(Value::Null);
        if value.is_null() {
            *value = Value::from("");
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parsed(text: &str) -> Kubeconfig {
        parse(text, Path::new("/dir")).unwrap_or_else(|| panic!("not a kubeconfig: {text}"))
    }

    #[test]
    fn empty_file_is_an_empty_kubeconfig() {
        for text in ["", "\n", "---\n", "# nothing\n", "{}", "null"] {
            let kubeconfig = parsed(text);
            assert!(kubeconfig.contexts.is_empty() && kubeconfig.current_context.is_none(), "{text:?}");
        }
    }

    #[test]
    fn empty_values_are_unset() {
        let kubeconfig = parsed(
            "{current-context: '', clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: '', \
             certificate-authority-data: null, proxy-url: '', tls-server-name: '', \
             extensions: [{name: e, extension: {a: '', b: null}}]}}], users: [{name: u, user: {token: '', \
             tokenFile: '', username: '', as: '', client-key-data: '', auth-provider: {name: oidc, config: null}, \
             exec: {command: x, interactiveMode: '', args: ['', a], env: [{name: A, value: ''}, {name: B}]}}}], \
             contexts: [{name: x, context: {cluster: null}}, {name: z}], preferences: null}",
        );
        assert_eq!(kubeconfig.current_context, None);
        let cluster = kubeconfig.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(
            (&cluster.certificate_authority, &cluster.certificate_authority_data, &cluster.proxy_url),
            (&None, &None, &None)
        );
        let extension = &cluster.extensions.as_ref().expect("extensions")[0].extension;
        assert_eq!(*extension, serde_json::json!({"a": "", "b": null}));
        let user = kubeconfig.auth_infos[0].auth_info.as_ref().expect("a user");
        assert!(user.token.is_none() && user.token_file.is_none() && user.client_key_data.is_none());
        assert_eq!((&user.username, &user.impersonate), (&None, &None));
        let exec = user.exec.as_ref().expect("a plugin");
        assert_eq!(exec.args.as_deref(), Some(&[String::new(), "a".to_owned()][..]));
        let variables = exec.env.as_ref().expect("variables");
        assert!(variables.iter().all(|it| it["value"].is_empty()) && variables.len() == 2);
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        let kubeconfig = parsed(
            "{clusters: [{name: c, cluster: {certificate-authority: ca.crt}}], users: [{name: u, user: {\
             client-certificate: /abs.crt, client-key: ../key, tokenFile: '~/token', exec: {command: bin/x}}}, \
             {name: v, user: {exec: {command: x}}}]}",
        );
        let cluster = kubeconfig.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.certificate_authority.as_deref(), Some("/dir/ca.crt"));
        let user = kubeconfig.auth_infos[0].auth_info.as_ref().expect("a user");
        assert_eq!(user.client_certificate.as_deref(), Some("/abs.crt"));
        assert_eq!(user.client_key.as_deref(), Some("/dir/../key"));
        // As in kubectl, `~` is a name like any other.
        assert_eq!(user.token_file.as_deref(), Some("/dir/~/token"));
        let users = kubeconfig.auth_infos.iter().filter_map(|it| it.auth_info.as_ref()?.exec.as_ref());
        let commands: Vec<_> = users.filter_map(|it| it.command.as_deref()).collect();
        assert_eq!(commands, ["/dir/bin/x", "x"]);
    }

    #[test]
    fn base64_may_have_line_breaks() {
        let kubeconfig = parsed(
            "clusters: [{name: c, cluster: {certificate-authority-data: \"YWJj\\r\\nZGVm\\n\"}}]\n\
             users:\n- name: u\n  user:\n    client-key-data: |\n      YWJj\n      ZGVm\n",
        );
        let cluster = kubeconfig.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("YWJjZGVm"));
        let user = kubeconfig.auth_infos[0].auth_info.as_ref().expect("a user");
        assert_eq!(user.client_key_data.as_ref().map(ExposeSecret::expose_secret), Some("YWJjZGVm"));
    }

    #[test]
    fn last_of_equal_keys_counts() {
        let kubeconfig = parsed("{current-context: a, current-context: b, unknown: 1}");
        assert_eq!(kubeconfig.current_context.as_deref(), Some("b"));
    }

    #[test]
    fn byte_order_mark_is_no_text() {
        for bytes in [b"\xef\xbb\xbfab".to_vec(), b"\xff\xfea\0b\0".to_vec(), b"\xfe\xff\0a\0b".to_vec()] {
            assert_eq!(decode(bytes).as_deref(), Some("ab"));
        }
        assert_eq!(decode(b"\xff".to_vec()), None);
    }

    #[test]
    fn list_merges_files_and_skips_missing_ones() {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path();
        let first = "{current-context: '', users: [{name: u, user: {username: a}}]}";
        let second = "{current-context: x, users: [{name: u, user: {username: b}}, {name: v}]}";
        std::fs::write(directory.join("first"), first).expect("a file");
        std::fs::write(directory.join("second"), second).expect("a file");
        let list =
            [PathBuf::new(), directory.join("none"), directory.join("first"), directory.join("second")];
        let list = std::env::join_paths(list).expect("paths");
        let merged = read_list(&list).expect("readable").expect("a kubeconfig");
        assert_eq!(merged.current_context.as_deref(), Some("x"), "an empty context is none");
        let user = merged.auth_infos[0].auth_info.as_ref().expect("a user");
        assert_eq!((merged.auth_infos.len(), user.username.as_deref()), (2, Some("a")));
        assert!(read_list(directory.join("none").as_os_str()).expect("nothing to read").is_none());
        std::fs::create_dir(directory.join("folder")).expect("a directory");
        for (file, message) in [("folder", "Is a directory"), ("first/below", "Not a directory")] {
            let error = read_list(directory.join(file).as_os_str()).expect_err(file);
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
