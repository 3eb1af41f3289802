//! The API server's audit log: the user, verb and object of every request.
//!
//! A line is written when a request is complete; a watch is complete when it ends. The line can appear an instant after
//! the response: a test polls for the lines that it expects.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;

use super::Kube;
use crate::json_lines;

/// Name of the audit log in the control plane's directory.
pub(super) const AUDIT_LOG: &str = "audit.log";

/// The longest delay between a response and its line in the log.
const SETTLING: Duration = Duration::from_secs(20);

/// A place in the audit log: its length in bytes when the mark was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

/// One complete request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Line")]
pub struct AuditEvent {
    /// The user, for example `system:serviceaccount:NAMESPACE:NAME` or `admin`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The plural, for example `secrets`; empty for a path that is not a resource.
    pub resource: String,
    /// For example `status` or `token`; else empty.
    pub subresource: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The HTTP status; 0 if the request was cut off before one.
    pub code: u16,
    /// Path and query.
    pub request_uri: String,
    /// The time of the request, by the API server's clock.
    pub received: Timestamp,
    /// The end of the response, by the same clock.
    pub answered: Timestamp,
}

impl AuditEvent {
    /// Returns true if the verb of the request is a write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

impl Kube {
    /// Marks the current end of the audit log.
    pub fn audit_mark(&self) -> anyhow::Result<AuditMark> {
        Ok(AuditMark(json_lines::length(&self.directory.join(AUDIT_LOG))?))
    }

    /// Waits until every completed request is in the log: a line can be written an instant after the response, so
    /// one more request is sent, and its line waited for.
    pub async fn settle_audit_log(&self) -> anyhow::Result<()> {
        const LAST: &str = "/api/v1/namespaces/default/configmaps?limit=1&labelSelector=settle";
        let mark = self.audit_mark()?;
        self.get(LAST).await?;
        let written = async {
            while !self.audit_events_since(mark)?.iter().any(|event| event.request_uri == LAST) {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SETTLING, written)
            .await
            .context("the API server does not write its audit log")?
    }

    /// Returns every complete request since a mark.
    pub fn audit_events_since(&self, mark: AuditMark) -> anyhow::Result<Vec<AuditEvent>> {
        json_lines::lines_since(&self.directory.join(AUDIT_LOG), mark.0)
    }

    /// Returns every complete request by `user` since a mark.
    pub fn audit_events_by(&self, user: &str, mark: AuditMark) -> anyhow::Result<Vec<AuditEvent>> {
        let mut events = self.audit_events_since(mark)?;
        events.retain(|event| event.user == user);
        Ok(events)
    }
}

/// Returns the user name of a ServiceAccount in the audit log.
#[must_use]
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        Self {
            user: line.user.username,
            verb: line.verb,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            code: line.response_status.code,
            request_uri: line.request_uri,
            received: line.request_received_timestamp,
            answered: line.stage_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/secrets/s?fieldManager=f","verb":"patch","user":{"username":"system:serviceaccount:a:b","groups":["g"]},"sourceIPs":["127.0.0.1"],"objectRef":{"resource":"secrets","namespace":"a","name":"s","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.001000Z"}
"#;

    #[test]
    fn audit_line_is_parsed_with_user_verb_and_object() {
        let events: Vec<AuditEvent> = json_lines::parse(PATCH).unwrap();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event.user, service_account_user("a", "b"));
        assert_eq!(
            (event.verb.as_str(), event.resource.as_str(), event.name.as_str()),
            ("patch", "secrets", "s")
        );
        assert_eq!((event.code, event.subresource.as_str()), (200, ""));
        assert!(event.is_write());
        assert_eq!(event.answered.as_millisecond() - event.received.as_millisecond(), 1);
    }

    #[test]
    fn audit_line_without_object_is_parsed() {
        let line = r#"{"requestURI":"/readyz","verb":"get","user":{},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.000000Z"}"#;
        let events: Vec<AuditEvent> = json_lines::parse(&format!("{line}\n")).unwrap();
        assert_eq!(events[0].request_uri, "/readyz");
        assert!(!events[0].is_write());
    }
}
