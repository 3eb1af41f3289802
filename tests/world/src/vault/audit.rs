//! Vault's audit file: the operation and path of every request.

use jiff::Timestamp;
use serde::Deserialize;

use super::Vault;
use crate::json_lines;

/// A place in the audit file: its length in bytes when the mark was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VaultAuditMark(u64);

/// One line: a request, or the response to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Line")]
pub struct VaultAuditEvent {
    /// The time at which the line was written.
    pub time: Timestamp,
    /// `request` or `response`.
    pub kind: String,
    /// `read`, `update`, `list`, `create`, `delete`, …
    pub operation: String,
    /// The path after `/v1/`, with the namespace of the request before it.
    pub path: String,
    /// The display name of the token, for example `root` or `kubernetes-regcred-regcred`; empty before a login.
    pub display_name: String,
    /// The error; empty for success.
    pub error: String,
}

impl VaultAuditEvent {
    /// Returns true for the response to a read that succeeded.
    #[must_use]
    pub fn is_successful_read(&self) -> bool {
        self.kind == "response" && self.operation == "read" && self.error.is_empty()
    }
}

impl Vault {
    /// Returns every line so far.
    pub fn audit_events(&self) -> anyhow::Result<Vec<VaultAuditEvent>> {
        self.audit_events_since(VaultAuditMark(0))
    }

    /// Marks the current end of the audit file.
    pub fn audit_mark(&self) -> anyhow::Result<VaultAuditMark> {
        Ok(VaultAuditMark(json_lines::length(&self.audit_log)?))
    }

    /// Returns every line since a mark.
    pub fn audit_events_since(&self, mark: VaultAuditMark) -> anyhow::Result<Vec<VaultAuditEvent>> {
        json_lines::lines_since(&self.audit_log, mark.0)
    }

    /// Counts the successful reads of `path` since a mark.
    pub fn reads_of(&self, path: &str, mark: VaultAuditMark) -> anyhow::Result<usize> {
        let events = self.audit_events_since(mark)?;
        Ok(events.iter().filter(|event| event.is_successful_read() && event.path == path).count())
    }
}

#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    error: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    display_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request {
    operation: String,
    namespace: Namespace,
    path: String,
}

/// The namespace of a request; its path is empty for the root, or ends with a slash.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    path: String,
}

impl From<Line> for VaultAuditEvent {
    fn from(line: Line) -> Self {
        Self {
            time: line.time,
            kind: line.kind,
            operation: line.request.operation,
            path: line.request.namespace.path + &line.request.path,
            display_name: line.auth.display_name,
            error: line.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_line_is_parsed_with_operation_and_path() {
        let line = r#"{"time":"2026-01-01T00:00:00Z","type":"response","auth":{"display_name":"root"},"request":{"id":"1","operation":"read","mount_type":"kv","path":"secret/data/ci/ghcr"},"response":{"data":{}}}"#;
        let events: Vec<VaultAuditEvent> = json_lines::parse(&format!("{line}\n{line}")).unwrap();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.kind.as_str(), event.operation.as_str()), ("response", "read"));
        assert_eq!((event.path.as_str(), event.display_name.as_str()), ("secret/data/ci/ghcr", "root"));
        assert_eq!(event.error, "");
        let line = line.replace(r#""operation""#, r#""namespace":{"id":"x","path":"a/b/"},"operation""#);
        let events: Vec<VaultAuditEvent> = json_lines::parse(&format!("{line}\n")).unwrap();
        assert_eq!(events[0].path, "a/b/secret/data/ci/ghcr");
    }
}
