//! Prints a report as a table: one line for a thousand namespaces with the same result.
//!
//! Pure. In goes a [`Report`], out comes text without colour and without a line longer than it must be.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::diff::PlannedChange;
use super::{
    ClusterPullSecretReport, NamespaceReport, Problem, RegistryReport, Report, ResultKind, TargetReason,
};
use crate::manifest::status::reason::FetchedReason;
use crate::named::{self, MAX_NAMED};

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cluster_pull_secret in &self.cluster_pull_secrets {
            let ClusterPullSecretReport { name, secret_name, .. } = cluster_pull_secret;
            if cluster_pull_secret.is_left_alone() {
                writeln!(f, "{name}: left unchanged\n")?;
            } else {
                let dry_run = if self.dry_run { " (dry run)" } else { "" };
                writeln!(f, "{name}: Secret {secret_name} in each namespace{dry_run}\n")?;
            }
            if let Some(Problem { reason, message }) = &cluster_pull_secret.left_alone {
                writeln!(f, "  {reason}: {message}\n")?;
            }
            for Problem { reason, message } in &cluster_pull_secret.problems {
                writeln!(f, "  ! {reason}: {message}\n")?;
            }
            if cluster_pull_secret.is_left_alone() {
                continue;
            }
            writeln!(f, "{}\n", indented(&registries(&cluster_pull_secret.registries)))?;
            let groups = fold(&cluster_pull_secret.namespaces);
            if !groups.is_empty() {
                writeln!(f, "{}\n", indented(&namespaces(&groups)))?;
            }
            if notes(f, cluster_pull_secret, &groups)? {
                writeln!(f)?;
            }
        }
        write!(f, "{}", self.summary)
    }
}

/// The namespaces with the same result, in the order of names.
struct Group<'a> {
    result: ResultKind,
    members: Vec<&'a NamespaceReport>,
}

/// The fields by which namespaces are grouped.
type GroupKey<'a> = (ResultKind, Option<&'static str>, Option<&'a str>, &'a [PlannedChange], &'a [String]);

fn fold(namespaces: &[NamespaceReport]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<GroupKey<'_>, Group<'_>> = BTreeMap::new();
    for it in namespaces {
        let key = (
            it.result,
            it.reason.map(TargetReason::as_str),
            it.message.as_deref(),
            it.changes.as_slice(),
            it.missing_service_accounts.as_slice(),
        );
        let group = groups.entry(key).or_insert_with(|| Group { result: it.result, members: Vec::new() });
        group.members.push(it);
    }
    groups.into_values().collect()
}

impl Group<'_> {
    fn names(&self) -> String {
        match self.members.as_slice() {
            [] => String::new(),
            [only] => only.namespace.to_string(),
            [first, last] => format!("{}, {}", first.namespace, last.namespace),
            [first, .., last] => {
                format!("{} namespaces: {} … {}", self.members.len(), first.namespace, last.namespace)
            }
        }
    }

    /// Returns the first few names: a failed namespace has to be found.
    fn some_names(&self) -> String {
        let names = named::join(self.members.iter().map(|it| it.namespace.as_str()), ", ");
        if self.members.len() > MAX_NAMED { format!("{names} (--output json names all)") } else { names }
    }

    fn service_accounts(&self) -> String {
        let mut tally = BTreeMap::new();
        for service_account in self.members.iter().flat_map(|it| &it.service_accounts) {
            *tally.entry(service_account.result).or_insert(0) += 1;
        }
        let counts: Vec<_> = tally.iter().map(|(result, count)| format!("{count} {result}")).collect();
        if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }
    }
}

fn registries(registries: &[RegistryReport]) -> Table {
    let mut table = plain_table();
    table.set_header(["REGISTRY", "STORE", "KEY", "VERSION", "RESULT"]);
    for RegistryReport { host, store, key, version, result, .. } in registries {
        table.add_row([host, store, key, version.as_deref().unwrap_or("-"), result.into()]);
    }
    table
}

fn namespaces(groups: &[Group<'_>]) -> Table {
    let mut table = plain_table();
    table.set_header(["NAMESPACES", "RESULT", "REASON", "SERVICEACCOUNTS"]);
    for group in groups {
        let reason = group.members.first().and_then(|it| it.reason).map_or("-", TargetReason::as_str);
        table.add_row([&group.names(), &group.result.to_string(), reason, &group.service_accounts()]);
    }
    table
}

/// Creates a table without lines.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

fn indented(table: &Table) -> String {
    let lines = table.lines().map(|line| format!("  {}", line.trim()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints the details that do not fit into the tables: first the reasons, then the changes. Returns true if there
/// were any.
fn notes(
    f: &mut impl Write,
    cluster_pull_secret: &ClusterPullSecretReport,
    groups: &[Group<'_>],
) -> Result<bool, fmt::Error> {
    let mut lines = Vec::new();
    // Without a credential there is no entry to keep.
    let has_entries = !cluster_pull_secret.namespaces.iter().any(NamespaceReport::has_no_credential);
    let kept = if has_entries { "; existing entries are kept" } else { "" };
    for registry in &cluster_pull_secret.registries {
        let RegistryReport { host, result, message, .. } = registry;
        let kept = if registry.keeps_entries() { kept } else { "" };
        if let Some(message) = message {
            let line = match result {
                FetchedReason::Fetched => format!("{host}: {message}"),
                _ => format!("! {host}: {result}: {message}{kept}"),
            };
            lines.push(line);
        }
    }
    for (group, first) in groups.iter().filter_map(|group| Some((group, group.members.first()?))) {
        if let (Some(reason), Some(message)) = (first.reason, &first.message) {
            lines.push(format!("! {}: {reason}: {message}", group.some_names()));
        } else if !first.missing_service_accounts.is_empty() {
            let missing = first.missing_service_accounts.join(", ");
            lines.push(format!("! {}: there is no ServiceAccount {missing}", group.some_names()));
        }
    }
    for (group, first) in groups.iter().filter_map(|group| Some((group, group.members.first()?))) {
        if !first.changes.is_empty() {
            lines.push(format!("{} would change:", group.names()));
            lines.extend(first.changes.iter().map(|change| format!("  {change}")));
        }
    }
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
    Ok(!lines.is_empty())
}

#[cfg(test)]
mod tests;
