//! The requests of regcred, as the audit logs of the API server and of Vault record them.

use std::panic::Location;
use std::time::Duration;

use jiff::Timestamp;
use world::{AuditEvent, AuditMark, VaultAuditMark, service_account_user};

use crate::{NAMESPACE, SERVICE_ACCOUNT, TestCluster, until};

/// The time without a write after which a cluster counts as idle.
const IDLE: Duration = Duration::from_secs(2);

impl TestCluster {
    /// The current end of the API server's audit log.
    pub fn mark(&self) -> AuditMark {
        self.kube.audit_mark().expect("an audit log")
    }

    /// Every complete request since a mark.
    pub async fn all_requests(&self, mark: AuditMark) -> Vec<AuditEvent> {
        self.kube.settle_audit_log().await.expect("an audit log");
        self.kube.audit_events_since(mark).expect("an audit log")
    }

    /// Every complete request of a ServiceAccount in regcred's namespace since a mark.
    pub async fn requests_as(&self, account: &str, mark: AuditMark) -> Vec<AuditEvent> {
        let user = service_account_user(NAMESPACE, account);
        let mut requests = self.all_requests(mark).await;
        requests.retain(|request| request.user == user);
        requests
    }

    /// The same of regcred's ServiceAccount.
    pub async fn requests(&self, mark: AuditMark) -> Vec<AuditEvent> {
        self.requests_as(SERVICE_ACCOUNT, mark).await
    }

    /// The writes and attempted writes of regcred since a mark, except in its own namespace:
    /// `verb resource namespace/name code`.
    pub async fn writes(&self, mark: AuditMark) -> Vec<String> {
        let requests = self.requests(mark).await;
        requests.iter().filter(|request| is_write(request)).map(line).collect()
    }

    /// The writes of regcred to the Secrets of its own namespace since a mark: `verb resource namespace/name code`.
    pub async fn own_writes(&self, mark: AuditMark) -> Vec<String> {
        let mut requests = self.requests(mark).await;
        requests.retain(|it| it.is_write() && it.namespace == NAMESPACE && it.resource == "secrets");
        requests.iter().map(line).collect()
    }

    /// The writes of regcred in the namespaces of this test since a mark, where other tests run at the same time:
    /// `verb resource code`.
    pub async fn writes_in_namespaces(&self, mark: AuditMark) -> Vec<String> {
        let mut requests = self.requests(mark).await;
        requests.retain(|it| it.is_write() && it.namespace.starts_with(self.name));
        requests.iter().map(|it| format!("{} {} {}", it.verb, it.resource, it.code)).collect()
    }

    /// Waits until regcred writes nothing: a status and an Event are written a moment after the change they report.
    pub async fn until_idle(&self) {
        self.until_idle_for(IDLE).await;
    }

    /// The same for this long: regcred saves its own state at most every five seconds.
    pub async fn until_idle_for(&self, silence: Duration) {
        until("nothing is written", async || {
            let mark = self.mark();
            tokio::time::sleep(silence).await;
            self.writes(mark).await.is_empty() && self.own_writes(mark).await.is_empty()
        })
        .await;
    }

    /// The time from the answer to a change to the last answer to regcred's reaction, by the API server's clock.
    /// Both are given as `verb resource namespace/name`; the change is the last such request of another user.
    #[track_caller]
    pub fn delay<'a>(
        &'a self,
        mark: AuditMark,
        change: &'a str,
        effect: &'a str,
    ) -> impl Future<Output = Duration> + 'a {
        let caller = Location::caller();
        async move {
            let requests = self.all_requests(mark).await;
            // An effect before the change is no reaction to it.
            let change_answered = last_answer(&requests, change, false, caller);
            let delay = last_answer(&requests, effect, true, caller).duration_since(change_answered);
            Duration::try_from(delay).unwrap_or_else(|_| panic!("{effect} came before {change}, at {caller}"))
        }
    }

    /// The time from an instant to the answer to the last write of a Secret, without the time in which the API server
    /// was answering one. There is one write for each namespace of the test.
    pub async fn delay_beyond_writes(&self, mark: AuditMark, since: Timestamp) -> Duration {
        let mut writes = self.requests(mark).await;
        writes.retain(|it| is_write(it) && it.resource == "secrets");
        assert_eq!(writes.len(), self.namespaces.len(), "writes of Secrets");
        writes.sort_by_key(|it| it.received);
        let (mut delay, mut busy_until) = (Duration::ZERO, since);
        for AuditEvent { received, answered, .. } in &writes {
            // Negative while another write is in flight.
            delay += Duration::try_from(received.duration_since(busy_until)).unwrap_or_default();
            busy_until = busy_until.max(*answered);
        }
        delay
    }

    /// The current end of Vault's audit log.
    pub fn vault_mark(&self) -> VaultAuditMark {
        self.vault.audit_mark().expect("Vault's audit log")
    }

    /// The number of reads of a key of this test since a mark.
    pub fn vault_reads(&self, key: &str, mark: VaultAuditMark) -> usize {
        self.vault.reads_of(&format!("secret/data/{}", self.key(key)), mark).expect("Vault's audit log")
    }

    /// The paths of the requests for keys of this test since a mark: data and versions.
    pub fn vault_requests(&self, mark: VaultAuditMark) -> Vec<String> {
        let events = self.vault.audit_events_since(mark).expect("Vault's audit log");
        let own = events
            .into_iter()
            .filter(|it| it.kind == "request" && it.path.contains(&format!("/{}/", self.name)));
        own.map(|it| it.path).collect()
    }
}

/// The time of the answer to the last successful request of this kind, by regcred or by another user.
fn last_answer(requests: &[AuditEvent], kind: &str, by_regcred: bool, caller: &Location<'_>) -> Timestamp {
    let regcred = service_account_user(NAMESPACE, SERVICE_ACCOUNT);
    let last = requests
        .iter()
        .rfind(|it| (it.user == regcred) == by_regcred && it.code < 300 && kind_and_object(it) == kind);
    last.unwrap_or_else(|| panic!("no {kind} in the audit log, at {caller}")).answered
}

/// Returns true if a request is a write outside of regcred's own namespace, which has the Lease, the last good values
/// and the record of Secrets.
pub fn is_write(request: &AuditEvent) -> bool {
    request.is_write() && request.namespace != NAMESPACE
}

/// `verb resource namespace/name`, with the subresource after the resource and without a namespace where there is none.
fn kind_and_object(request: &AuditEvent) -> String {
    let resource = joined([&request.resource, &request.subresource]);
    format!("{} {resource} {}", request.verb, joined([&request.namespace, &request.name]))
}

fn joined(parts: [&str; 2]) -> String {
    parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("/")
}

/// `verb resource namespace/name code`.
pub fn line(request: &AuditEvent) -> String {
    format!("{} {}", kind_and_object(request), request.code)
}
