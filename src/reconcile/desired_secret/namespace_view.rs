//! The desired Secret as one namespace may have it.
//!
//! Pure. Where all keys are shared and every store admits the namespace, that is the Secret of all namespaces.
//! Otherwise the registries of stores that do not admit the namespace are left out, and those with a key for
//! each namespace are resolved from the keys of this one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{DesiredSecret, NamespaceEntries};
use crate::cluster::{Namespace, Secret};
use crate::credential::{StoreKey, StoreName};
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::status::reason::{AppliedReason, FetchedReason};
use crate::object_name::NamespaceName;
use crate::provider::stores::Values;
use crate::reconcile::recorded::RecordedEntries;
use crate::reconcile::version_order::KeyOrder;
use crate::reconcile::{last_good, namespace_keys, resolve};
use crate::report::Shortfall;
use crate::rotator::{Content, FetchedVersions};

/// The values and versions of all keys.
pub struct KnownValues<'a> {
    /// The values as read.
    pub values: &'a Values,
    /// The values that were read before; `None` without access to regcred's own namespace.
    pub recorded: Option<&'a LastGoodValues>,
    /// Returns the versions of a key besides the one that is held.
    pub order: &'a dyn Fn(&StoreKey) -> KeyOrder,
}

/// The desired Secret as one namespace may have it.
pub struct NamespaceView<'a> {
    shared: &'a DesiredSecret,
    /// The desired Secret of this namespace alone, where it differs.
    own: Option<DesiredSecret>,
    /// The registries that the namespace lacks.
    pub shortfall: Option<Shortfall>,
    /// True if a registry is left out because its store does not admit the namespace or the host.
    pub is_denied: bool,
    /// The stores that do not admit the namespace.
    denied_stores: BTreeSet<StoreName>,
}

impl NamespaceView<'_> {
    /// Returns the desired Secret.
    #[must_use]
    pub fn desired(&self) -> &DesiredSecret {
        self.own.as_ref().unwrap_or(self.shared)
    }

    /// Returns true if a Secret names an entry that the namespace may not hold.
    #[must_use]
    pub fn has_denied_entry(&self, secret: &Secret) -> bool {
        let origins = secret.versions.as_deref().map(versions::parse_lenient).unwrap_or_default();
        origins.iter().any(|(host, origin)| !self.admits(host, &origin.store))
    }

    /// Returns the content of the entries in a Secret that the namespace may hold; `None` without one. None of them
    /// gets another version than it has.
    #[must_use]
    pub fn admitted_content(&self, secret: &Secret) -> Option<Arc<Content>> {
        let desired = self.desired();
        let mut found = NamespaceEntries::default();
        for (host, entry) in last_good::from_secret(secret) {
            if !self.admits(&host, &entry.origin.store) {
                continue;
            }
            let mut store_keys = desired.resolved.registries.iter().map(|it| &it.source.store_key);
            match store_keys.find(|store_key| entry.origin.is_from(store_key)) {
                Some(store_key) => found.add_last_good(&host, &entry, store_key),
                None => drop(found.entries.insert(host, entry)),
            }
        }
        let rendered = desired.render(found).ok().flatten()?;
        Some(Arc::new(Content { fetched: FetchedVersions::default(), ..rendered.as_ref().clone() }))
    }

    fn admits(&self, host: &HostKey, store: &StoreName) -> bool {
        let admission = &self.shared.cluster_pull_secret().admission;
        !self.denied_stores.contains(store) && admission.admits_host(store, host)
    }
}

impl DesiredSecret {
    /// Returns the desired Secret as one namespace may have it.
    #[must_use]
    pub fn view(
        &self,
        namespace_name: &NamespaceName,
        namespace: &Namespace,
        known: &KnownValues<'_>,
    ) -> NamespaceView<'_> {
        let cluster_pull_secret = &self.resolved.cluster_pull_secret;
        let denied_stores = cluster_pull_secret.admission.denied_stores(namespace_name, &namespace.labels);
        let registries = &self.resolved.registries;
        let is_namespace_denied =
            registries.iter().any(|it| denied_stores.contains(&it.source.store_key.store));
        let is_host_denied = registries.iter().any(|registry| registry.report.is_host_denied);
        let has_denied_entry = !denied_stores.is_empty() && !self.is_complete();
        let has_own_keys = namespace_keys::has_namespace_keys(cluster_pull_secret);
        if !is_namespace_denied && !has_denied_entry && !has_own_keys {
            let (own, shortfall, is_denied) = (None, None, is_host_denied);
            return NamespaceView { shared: self, own, shortfall, is_denied, denied_stores };
        }
        let resolved =
            resolve::resolve_in(cluster_pull_secret, namespace_name, &namespace.labels, known.values)
                .with_order(known.order);
        let is_host_denied = is_host_denied || resolved.registries.iter().any(|it| it.report.is_host_denied);
        let mut own = Self {
            resolved,
            fetched: None,
            recorded: RecordedEntries::default(),
            accepted_older: self.accepted_older.clone(),
            denied_stores: denied_stores.clone(),
        };
        if let Some(recorded) = known.recorded {
            own.refresh_last_good(recorded);
        }
        if own.is_complete() {
            // What does not fit is reported for this namespace alone.
            own.fetched = Some(own.render(own.entries(None))).filter(Result::is_ok);
        }
        let shortfall = self.shortfall(&own, namespace_name);
        let is_denied = is_namespace_denied || is_host_denied;
        NamespaceView { shared: self, own: Some(own), shortfall, is_denied, denied_stores }
    }

    /// Returns the first registry that a namespace lacks: its store does not admit the namespace, or the key of
    /// the namespace could not be read.
    fn shortfall(&self, own: &Self, namespace_name: &NamespaceName) -> Option<Shortfall> {
        let mut resolved = own.resolved.registries.iter();
        let each = self.resolved.registries.iter().filter_map(|registry| {
            let store = &registry.source.store_key.store;
            if own.denied_stores.contains(store) {
                return Some(not_admitted(&registry.report.host, store, namespace_name));
            }
            let report = &resolved.next()?.report;
            let is_failed = report.result != FetchedReason::Fetched && registry.is_deferred;
            is_failed.then(|| Shortfall {
                reason: AppliedReason::FetchFailed,
                message: format!(
                    "{}: {}: {}",
                    report.host,
                    report.result,
                    report.message.as_deref().unwrap_or_default()
                ),
            })
        });
        let each: Vec<_> = each.collect();
        let others = match each.len().saturating_sub(1) {
            0 => String::new(),
            1 => " (and 1 other registry)".to_owned(),
            others => format!(" (and {others} other registries)"),
        };
        let first = each.into_iter().next()?;
        Some(Shortfall { message: format!("{}{others}", first.message), ..first })
    }
}

fn not_admitted(host: &str, store: &StoreName, namespace_name: &NamespaceName) -> Shortfall {
    Shortfall {
        reason: AppliedReason::NotAdmitted,
        message: format!(
            "store {store} does not admit namespace {namespace_name}, so {host} is left out. Add the namespace to \
             `namespaces` or `namespaceSelector` of the store, or do not select it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::cluster::ServiceAccount;
    use crate::credential::Credential;
    use crate::docker_config::DockerConfig;
    use crate::installation::last_good::LastGoodValue;
    use crate::manifest::admission::tests::admission;
    use crate::manifest::cluster_pull_secret::ClusterPullSecret;
    use crate::reconcile::fixture::{
        cluster, cluster_pull_secret, host_key, namespace, secret, store_key, values,
    };

    /// `ghcr.io` with the key `teams/{{namespace}}`, and `quay.io` with a key that all namespaces share.
    fn teams() -> ClusterPullSecret {
        let mut teams = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
        teams.registries[0].store_key = store_key("teams/{{namespace}}");
        teams
    }

    fn bare(secret: Option<Secret>) -> Namespace {
        namespace(secret, ServiceAccount::default())
    }

    fn known(values: &Values) -> KnownValues<'_> {
        KnownValues { values, recorded: None, order: &|_| KeyOrder::default() }
    }

    /// The values of the namespaces `db` and `later`, which were read before.
    fn recorded() -> LastGoodValues {
        let mut recorded = LastGoodValues::default();
        for name in ["db", "later"] {
            let registry = teams().registries[0].in_namespace(&name.into());
            let credential = Credential { username: "robot".into(), password: format!("of {name}").into() };
            let config = DockerConfig { auths: [(host_key("ghcr.io"), credential)].into() };
            recorded.record(
                "images",
                &registry,
                LastGoodValue { version: "1".into(), config, expires: None },
            );
        }
        recorded
    }

    /// `host password` for each entry of the namespace `web`, and its shortfall.
    fn entries(
        cluster_pull_secret: ClusterPullSecret,
        read: &[(&str, &str, &str)],
        here: Option<Secret>,
    ) -> (Vec<String>, Option<Shortfall>) {
        let elsewhere = secret("9", &[("ghcr.io", "1", "theirs"), ("quay.io", "1", "theirs")]);
        let cluster = cluster(vec![("db", bare(Some(elsewhere))), ("web", bare(here))]);
        let values = values(read);
        let resolved = resolve::resolve(&Arc::new(cluster_pull_secret), &values);
        let recorded = recorded();
        let desired = DesiredSecret::new(resolved, &recorded);
        let web = &cluster.namespaces["web"];
        let known = KnownValues { recorded: Some(&recorded), ..known(&values) };
        let view = desired.view(&"web".into(), web, &known);
        let content = view.desired().content_for(web).ok();
        let config =
            content.map(|content| DockerConfig::parse_lenient(content.docker_config.expose_secret()));
        let auths = config.unwrap_or_default().auths.into_iter();
        let entries = auths.map(|(host, it)| format!("{host} {}", it.password.expose_secret()));
        (entries.collect(), view.shortfall)
    }

    const SHARED: (&str, &str, &str) = ("quay.io", "1", "shared");

    #[test]
    fn namespace_gets_the_value_of_its_own_key() {
        let read = [SHARED, ("teams/web", "1", "webs"), ("teams/db", "1", "dbs")];
        assert_eq!(
            entries(teams(), &read, None),
            (vec!["ghcr.io webs".into(), "quay.io shared".into()], None)
        );
    }

    #[test]
    fn recorded_value_of_an_own_key_stays_in_its_namespace() {
        // The values of `db` and `later` are recorded, that of `web` is not.
        assert_eq!(entries(teams(), &[SHARED, ("teams/web", "1", "")], None).0, ["quay.io shared"]);
        let values = values(&[SHARED, ("teams/db", "1", "")]);
        let (recorded, teams) = (recorded(), Arc::new(teams()));
        let desired = DesiredSecret::new(resolve::resolve(&teams, &values), &recorded);
        let db = bare(None);
        let known = KnownValues { recorded: Some(&recorded), ..known(&values) };
        let view = desired.view(&"db".into(), &db, &known);
        let content = view.desired().content_for(&db).expect("a content");
        let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
        assert_eq!(config.auths[&host_key("ghcr.io")].password.expose_secret(), "of db");
        assert!(view.shortfall.is_some(), "it is the last good value, and reported");
    }

    #[test]
    fn own_key_at_an_older_version_is_reported_and_its_value_stays() {
        let values = values(&[SHARED, ("teams/web", "7", "held")]);
        let desired =
            DesiredSecret::new(resolve::resolve(&Arc::new(teams()), &values), &LastGoodValues::default());
        let web = bare(None);
        let known = KnownValues {
            order: &|key| KeyOrder {
                held_back: (*key == store_key("teams/web")).then(|| "6".into()),
                ..KeyOrder::default()
            },
            ..known(&values)
        };
        let view = desired.view(&"web".into(), &web, &known);
        let shortfall = view.shortfall.as_ref().expect("a shortfall");
        assert!(
            shortfall.message.starts_with("ghcr.io: OlderVersion: store vault, key teams/web"),
            "{shortfall:?}"
        );
        let content = view.desired().content_for(&web).expect("a content");
        let held = &content.fetched.0[&host_key("ghcr.io")];
        assert_eq!((&held.store_key, &held.version), (&store_key("teams/web"), &"7".into()));
    }

    #[test]
    fn failed_own_key_keeps_the_entry_of_this_namespace_only() {
        let read = [SHARED, ("teams/web", "1", "")];
        let failed = Shortfall {
            reason: AppliedReason::FetchFailed,
            message: "ghcr.io: Sealed: store vault, key teams/web: the Vault is sealed".into(),
        };
        let expect = vec!["quay.io shared".to_owned()];
        assert_eq!(entries(teams(), &read, None), (expect, Some(failed.clone())), "nothing of db");
        // While a shared key fails, too, the entries of other namespaces are known.
        let (kept, _) = entries(teams(), &[("quay.io", "1", ""), ("teams/web", "1", "")], None);
        assert!(!kept.iter().any(|entry| entry.starts_with("ghcr.io")), "{kept:?}");
        let here = Some(secret("1", &[("ghcr.io", "1", "before")]));
        let expect = vec!["ghcr.io before".to_owned(), "quay.io shared".to_owned()];
        assert_eq!(entries(teams(), &read, here), (expect, Some(failed)));
    }

    #[test]
    fn shared_docker_config_keeps_no_entry_of_others_own_configs() {
        let mut configs = cluster_pull_secret("images", &["*", "*"]);
        configs.registries[0].store_key = store_key("teams/{{namespace}}");
        let read = [("teams/web", "1", ""), ("*", "1", "")];
        assert_eq!(entries(configs, &read, None).0, Vec::<String>::new());
    }

    #[test]
    fn malformed_own_value_is_a_failure_of_the_namespace() {
        let mut teams = teams();
        teams.registries[0].password_key = Some("token".into());
        let (entries, shortfall) = entries(teams, &[SHARED, ("teams/web", "1", "pw")], None);
        assert_eq!(entries, ["quay.io shared"]);
        let shortfall = shortfall.expect("a shortfall");
        assert_eq!(shortfall.reason, AppliedReason::FetchFailed);
        assert!(
            shortfall.message.starts_with("ghcr.io: Malformed: store vault, key teams/web"),
            "{shortfall:?}"
        );
    }

    #[test]
    fn namespace_not_admitted_gets_nothing_of_the_store() {
        let mut limited = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
        limited.registries[1].store_key.store = "aws".into();
        limited.admission = admission(Some(&["team-*"]), None);
        let read = [("ghcr.io", "2", "new")];
        let here = Some(secret("1", &[("ghcr.io", "1", "old")]));
        let (entries, shortfall) = entries(limited, &read, here.clone());
        assert_eq!(entries, Vec::<String>::new(), "neither the new entry nor the one from before");
        let shortfall = shortfall.expect("a shortfall");
        assert_eq!(shortfall.reason, AppliedReason::NotAdmitted);
        assert!(shortfall.message.contains("store vault does not admit namespace web"), "{shortfall:?}");
    }

    #[test]
    fn failed_registry_keeps_no_entry_of_a_store_not_admitted() {
        // The registry was moved from the store `vault` to the store `aws`, which cannot be read.
        let mut moved = cluster_pull_secret("images", &["ghcr.io"]);
        moved.registries[0].store_key.store = "aws".into();
        let here = Some(secret("1", &[("ghcr.io", "1", "of vault")]));
        assert_eq!(entries(moved.clone(), &[], here.clone()).0, ["ghcr.io of vault"]);
        moved.admission = admission(Some(&["team-*"]), None);
        assert_eq!(entries(moved.clone(), &[], here.clone()), (Vec::new(), None));
        moved.admission = admission(None, Some(&["quay.io"]));
        assert_eq!(entries(moved, &[], here.clone()), (Vec::new(), None));
    }

    #[test]
    fn namespaces_share_one_content_where_all_is_shared() {
        let mut shared = cluster_pull_secret("images", &["ghcr.io"]);
        shared.admission = admission(Some(&["web", "db"]), None);
        let values = values(&[("ghcr.io", "1", "pw")]);
        let cluster = cluster(vec![("db", bare(None)), ("web", bare(None))]);
        let resolved = resolve::resolve(&Arc::new(shared), &values);
        let desired = DesiredSecret::new(resolved, &LastGoodValues::default());
        let contents = ["db", "web"].map(|name| {
            let view = desired.view(&name.into(), &cluster.namespaces[name], &known(&values));
            view.desired().content_for(&cluster.namespaces[name]).expect("a content")
        });
        assert!(Arc::ptr_eq(&contents[0], &contents[1]));
    }
}
