//! The independent judge of a cluster at rest: recorded objects go in, violations come out.
//!
//! Pure, and derived from the design alone: nothing of regcred's own code is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{LABEL, SECRET, condition_of, docker_config, references_of, text};
use serde_json::{Value, json};

/// The labels by which users find the Secrets of regcred.
pub(crate) const LABELS: [&str; 2] = ["app.kubernetes.io/managed-by", "regcred.dev/pull-secret"];
/// The annotation with the entries that regcred added to a ServiceAccount.
pub(crate) const ADDED: &str = "regcred.dev/image-pull-secrets";

/// The state that the stores, the administrators and the tenants ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The value of [`LABEL`] that selects a namespace.
    pub(crate) label: String,
    /// `username:password` by host.
    pub(crate) credentials: BTreeMap<String, String>,
    /// The namespaces that exist.
    pub(crate) namespaces: BTreeMap<String, ExpectedNamespace>,
}

/// The tenant's side of one namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectedNamespace {
    pub(crate) is_selected: bool,
    /// The entries of the tenant in the ServiceAccount `default`, in their order.
    pub(crate) entries: Vec<String>,
    /// The UID of a Secret under the name of the pull secret that the tenant created.
    pub(crate) foreign: Option<String>,
    /// The UID of a copy of another namespace's pull secret. It is never removed, and becomes the pull secret where
    /// the namespace is selected.
    pub(crate) copy: Option<String>,
}

/// The objects of a cluster, as an administrator lists them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) namespaces: Vec<Value>,
    /// The Secrets under the name of the pull secret.
    pub(crate) secrets: Vec<Value>,
    /// The ServiceAccounts called `default`.
    pub(crate) service_accounts: Vec<Value>,
    pub(crate) cluster_pull_secret: Value,
}

/// A difference from the design, with the namespace or the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns every violation of a cluster at rest.
pub(crate) fn violations(expected: &Expected, recorded: &Recorded) -> Vec<Violation> {
    let mut found = namespaces(expected, recorded);
    let secrets = by_namespace(&recorded.secrets);
    let accounts = by_namespace(&recorded.service_accounts);
    for (name, namespace) in &expected.namespaces {
        let of_secret = secret(expected, namespace, secrets.get(name.as_str()).copied());
        let of_entries = entries(expected, namespace, accounts.get(name.as_str()).copied());
        found
            .extend(of_secret.into_iter().chain(of_entries).map(|what| Violation(format!("{name}: {what}"))));
    }
    found.extend(status(expected, &recorded.cluster_pull_secret).map(Violation));
    found
}

fn by_namespace(objects: &[Value]) -> BTreeMap<&str, &Value> {
    let named = objects.iter().filter_map(|it| Some((it["metadata"]["namespace"].as_str()?, it)));
    named.collect()
}

/// The recorded namespaces are those of the tenants: a checker that judged others would be blind.
fn namespaces(expected: &Expected, recorded: &Recorded) -> Vec<Violation> {
    let selected = recorded.namespaces.iter().filter(|it| it["metadata"]["labels"][LABEL] == expected.label);
    let selected: BTreeSet<_> = selected.map(|it| text(&it["metadata"]["name"])).collect();
    let required = expected.namespaces.iter().filter(|(_, it)| it.is_selected).map(|(name, _)| name.clone());
    let required: BTreeSet<_> = required.collect();
    let differ = selected.symmetric_difference(&required);
    differ.map(|name| Violation(format!("{name}: is not selected as recorded"))).collect()
}

fn secret(expected: &Expected, namespace: &ExpectedNamespace, secret: Option<&Value>) -> Option<String> {
    let uid = secret.map(|it| text(&it["metadata"]["uid"]));
    let theirs = namespace.foreign.as_ref().or(namespace.copy.as_ref());
    if let Some(theirs) = theirs
        && uid.as_ref() != Some(theirs)
    {
        return Some(format!("the tenant's Secret {theirs} is now {uid:?}"));
    }
    match (namespace.is_selected, secret) {
        _ if namespace.foreign.is_some() => None,
        (false, Some(_)) if theirs.is_none() => Some("not selected, and a pull secret is left".to_owned()),
        (false, _) => None,
        (true, None) => Some("has no pull secret".to_owned()),
        (true, Some(secret)) => content(expected, secret).or_else(|| labels(expected, secret)),
    }
}

/// Labels that a tenant removed are put back.
fn labels(expected: &Expected, secret: &Value) -> Option<String> {
    let held = LABELS.map(|name| secret["metadata"]["labels"][name].as_str().unwrap_or_default());
    (held != ["regcred", expected.label.as_str()]).then(|| format!("the labels are {held:?}"))
}

fn content(expected: &Expected, secret: &Value) -> Option<String> {
    if secret["type"] != "kubernetes.io/dockerconfigjson" {
        return Some(format!("the type is {}", secret["type"]));
    }
    match credentials(secret) {
        Err(what) => Some(what),
        Ok(held) if held != expected.credentials => {
            Some(format!("holds {held:?} instead of {:?}", expected.credentials))
        }
        Ok(_) => None,
    }
}

/// Returns `username:password` by host, whichever form the entries have, or why the docker config is malformed.
pub(crate) fn credentials(secret: &Value) -> Result<BTreeMap<String, String>, String> {
    let config = docker_config(secret);
    let auths = config["auths"].as_object().ok_or("the docker config has no `auths`")?;
    let entries = auths.iter().map(|(host, entry)| {
        let auth = STANDARD.decode(text(&entry["auth"])).map_err(|error| format!("{host}: {error}"))?;
        let auth = String::from_utf8(auth).map_err(|error| format!("{host}: {error}"))?;
        if !auth.contains(':') {
            return Err(format!("{host}: `auth` has no colon"));
        }
        let fields = entry.get("username").map(|name| format!("{}:{}", text(name), text(&entry["password"])));
        match fields {
            Some(fields) if fields != auth => Err(format!("{host}: the fields differ from `auth`")),
            _ => Ok((host.clone(), auth)),
        }
    });
    entries.collect()
}

fn entries(expected: &Expected, namespace: &ExpectedNamespace, account: Option<&Value>) -> Option<String> {
    let Some(account) = account else { return Some("has no ServiceAccount `default`".to_owned()) };
    let (ours, others): (Vec<_>, Vec<_>) = references_of(account).into_iter().partition(|it| it == SECRET);
    let required = usize::from(namespace.is_selected && namespace.foreign.is_none());
    if ours.len() != required {
        return Some(format!("the ServiceAccount has {} entries of ours instead of {required}", ours.len()));
    }
    if others != namespace.entries {
        return Some(format!("the tenant's entries are {others:?}, not {:?}", namespace.entries));
    }
    // A tenant may have removed it while no process led; then the entry goes with its Secret.
    let added = account["metadata"]["annotations"][ADDED].as_str().unwrap_or_default();
    let is_recorded = added == format!("{SECRET}={}", expected.label);
    (!added.is_empty() && (required == 0 || !is_recorded)).then(|| format!("the annotation is {added}"))
}

fn status(expected: &Expected, object: &Value) -> Option<String> {
    let finalizers = object["metadata"]["finalizers"].as_array();
    if !finalizers.is_some_and(|it| it.contains(&json!("regcred.dev/cleanup"))) {
        return Some("the ClusterPullSecret has no finalizer".to_owned());
    }
    let selected = expected.namespaces.values().filter(|it| it.is_selected);
    let failed = selected.clone().filter(|it| it.foreign.is_some()).count();
    let selected = selected.count();
    let counts = json!({"selected": selected, "inSync": selected - failed, "failed": failed});
    if object["status"]["namespaces"] != counts {
        return Some(format!("the status counts {} instead of {counts}", object["status"]["namespaces"]));
    }
    let (ready, is_ready) = (condition_of(&object["status"], "Ready"), failed == 0);
    (ready.starts_with("True") != is_ready).then(|| format!("Ready is {ready}, with {failed} failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: &str = "robot:pw-1";

    fn pull_secret(auths: &Value) -> Value {
        let config = STANDARD.encode(json!({"auths": auths}).to_string());
        json!({
            "metadata": {"namespace": "web", "uid": "ours", "labels": {LABELS[0]: "regcred", LABELS[1]: "chaos"}},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": config},
        })
    }

    fn good_secret() -> Value {
        pull_secret(&json!({"ghcr.io": {"auth": STANDARD.encode(AUTH)}}))
    }

    fn expected(is_selected: bool) -> Expected {
        let entries = vec!["theirs".to_owned()];
        let namespace = ExpectedNamespace { is_selected, entries, ..ExpectedNamespace::default() };
        Expected {
            label: "chaos".to_owned(),
            credentials: BTreeMap::from([("ghcr.io".to_owned(), AUTH.to_owned())]),
            namespaces: BTreeMap::from([("web".to_owned(), namespace)]),
        }
    }

    fn recorded() -> Recorded {
        Recorded {
            namespaces: vec![json!({"metadata": {"name": "web", "labels": {LABEL: "chaos"}}})],
            secrets: vec![good_secret()],
            service_accounts: vec![json!({
                "metadata": {"namespace": "web", "name": "default"},
                "imagePullSecrets": [{"name": "theirs"}, {"name": SECRET}],
            })],
            cluster_pull_secret: json!({
                "metadata": {"finalizers": ["regcred.dev/cleanup"]},
                "status": {
                    "namespaces": {"selected": 1, "inSync": 1, "failed": 0},
                    "conditions": [{"type": "Ready", "status": "True", "reason": "InSync"}],
                },
            }),
        }
    }

    /// Checks that a change of the recorded objects is one violation with this text.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Recorded), expect: &str) {
        let mut recorded = recorded();
        change(&mut recorded);
        let found = violations(&expected(true), &recorded);
        assert!(found.len() == 1 && found[0].0.contains(expect), "{found:?} instead of {expect}");
    }

    #[test]
    fn cluster_as_expected_has_no_violation() {
        assert_eq!(violations(&expected(true), &recorded()), []);
        let both =
            json!({"ghcr.io": {"username": "robot", "password": "pw-1", "auth": STANDARD.encode(AUTH)}});
        let three_fields = Recorded { secrets: vec![pull_secret(&both)], ..recorded() };
        assert_eq!(violations(&expected(true), &three_fields), []);
    }

    #[test]
    fn each_damage_is_one_violation() {
        check(|it| it.namespaces.clear(), "is not selected as recorded");
        check(|it| it.secrets.clear(), "has no pull secret");
        check(|it| it.secrets[0]["type"] = json!("Opaque"), "the type is");
        check(|it| it.secrets[0]["data"] = json!({}), "has no `auths`");
        let old = json!({"ghcr.io": {"auth": STANDARD.encode("robot:pw-0")}});
        check(|it| it.secrets = vec![pull_secret(&old)], "instead of");
        let fields =
            json!({"ghcr.io": {"username": "robot", "password": "x", "auth": STANDARD.encode(AUTH)}});
        check(|it| it.secrets = vec![pull_secret(&fields)], "the fields differ");
        let torn = json!({"ghcr.io": {"auth": "cm9"}});
        check(|it| it.secrets = vec![pull_secret(&torn)], "ghcr.io:");
        check(|it| it.secrets[0]["metadata"]["labels"] = json!({}), "the labels are");
        check(|it| it.service_accounts.clear(), "has no ServiceAccount");
        let other = json!({ADDED: "other=chaos"});
        check(|it| it.service_accounts[0]["metadata"]["annotations"] = other, "the annotation is");
        let twice = json!([{"name": "theirs"}, {"name": SECRET}, {"name": SECRET}]);
        check(|it| it.service_accounts[0]["imagePullSecrets"] = twice, "has 2 entries of ours");
        check(
            |it| it.service_accounts[0]["imagePullSecrets"] = json!([{"name": SECRET}]),
            "tenant's entries",
        );
        check(|it| it.cluster_pull_secret["metadata"] = json!({}), "no finalizer");
        check(|it| it.cluster_pull_secret["status"]["namespaces"]["inSync"] = json!(0), "the status counts");
        check(|it| it.cluster_pull_secret["status"]["conditions"] = json!([]), "Ready is");
    }

    #[test]
    fn copy_stays_and_becomes_the_pull_secret_once_selected() {
        let with_copy = |is_selected, uid: &str| {
            let mut expected = expected(is_selected);
            expected.namespaces.get_mut("web").expect("it is there").copy = Some(uid.to_owned());
            expected
        };
        assert_eq!(violations(&with_copy(true, "ours"), &recorded()), []);
        let mut unselected = recorded();
        unselected.namespaces.clear();
        unselected.service_accounts[0]["imagePullSecrets"] = json!([{"name": "theirs"}]);
        let status = json!({"selected": 0, "inSync": 0, "failed": 0});
        unselected.cluster_pull_secret["status"]["namespaces"] = status;
        assert_eq!(violations(&with_copy(false, "ours"), &unselected), []);
        unselected.service_accounts[0]["metadata"]["annotations"] = json!({ADDED: "regcred=chaos"});
        unselected.secrets.clear();
        let found = violations(&with_copy(false, "ours"), &unselected);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(found.len() == 2 && found[0].contains("the tenant's Secret ours is now None"), "{found:?}");
        let found = violations(&with_copy(true, "copied"), &recorded());
        assert!(found.len() == 1 && found[0].0.contains("copied is now"), "{found:?}");
    }

    #[test]
    fn leftovers_and_touched_foreign_secrets_are_violations() {
        let mut unselected = recorded();
        unselected.namespaces.clear();
        let found = violations(&expected(false), &unselected);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|it| it.contains("a pull secret is left")), "{found:?}");
        assert!(found.iter().any(|it| it.contains("1 entries of ours instead of 0")), "{found:?}");
        let mut foreign = expected(true);
        foreign.namespaces.get_mut("web").expect("it is there").foreign = Some("theirs".to_owned());
        let found = violations(&foreign, &recorded());
        assert!(found[0].0.contains("the tenant's Secret theirs is now"), "{found:?}");
    }
}
