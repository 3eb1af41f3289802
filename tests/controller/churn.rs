//! The changes of an hour in two hundred namespaces, within half a minute: in any order, they end in the state that the
//! model predicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::{
    HOST, SECRET, TestCluster, is_true_within, password_of, references_of, repetitions, text, until,
};
use serde_json::json;

use crate::cluster::cluster_with_shared_namespaces;
use crate::controller::RunController as _;
use crate::model::{Account, Content, Model, Namespace, View};
use crate::rng::Rng;

const NAMESPACES: usize = 200;
const STEPS: usize = 1200;
/// A third revert in ten minutes would be `Contested`, with a back-off longer than the test can wait.
const REVERTS: usize = 2;
/// The longest time until the final state is reached.
const TIMEOUT: Duration = Duration::from_mins(2);
/// The ServiceAccounts that are created and deleted; the spec names the first two.
const ACCOUNTS: [&str; 3] = ["default", "builder", "unnamed"];

/// A sequence of random steps, each applied to the cluster and to the model.
struct Script<'a> {
    cluster: &'a TestCluster,
    rng: Rng,
    model: Model,
    /// The reverts of regcred's writes, by Secret or ServiceAccount.
    reverts: BTreeMap<String, usize>,
    steps: BTreeMap<&'static str, usize>,
}

impl Script<'_> {
    async fn step(&mut self) {
        let namespace = self.rng.choose(&self.cluster.namespaces).clone();
        let account = *self.rng.choose(&ACCOUNTS);
        let steps = [
            "edit", "delete", "strip", "wipe", "add", "add", "remove", "create", "drop", "select", "select",
            "foreign",
        ];
        let step = *self.rng.choose(&steps);
        let done = match step {
            "edit" | "delete" => self.damage(&namespace, step).await,
            "strip" | "wipe" => self.remove_entries(&namespace, account, step).await,
            "add" | "remove" => self.entry(&namespace, account, step).await,
            "create" => self.create(&namespace, account).await,
            "drop" => self.drop(&namespace, account).await,
            "select" => self.select(&namespace).await,
            _ => self.foreign(&namespace).await,
        };
        *self.steps.entry(step).or_default() += usize::from(done);
    }

    /// Returns true if a write of regcred may be reverted once more.
    fn may_revert(&mut self, what: String) -> bool {
        let reverts = self.reverts.entry(what).or_default();
        *reverts += 1;
        *reverts <= REVERTS
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace {
        self.model.namespaces.get_mut(name).expect("a namespace of the model")
    }

    async fn damage(&mut self, namespace: &str, how: &str) -> bool {
        let state = self.namespace(namespace);
        if !state.selected || state.foreign || !self.may_revert(format!("{namespace}/secret")) {
            return false;
        }
        let path = secret_path(namespace);
        // The Secret may not exist yet; then the step does nothing.
        match how {
            "edit" => {
                self.cluster.kube.patch(&path, &json!({"data": {".dockerconfigjson": "e30="}})).await.is_ok()
            }
            _ => self.cluster.kube.delete(&path).await.is_ok(),
        }
    }

    /// Removes regcred's entry from a ServiceAccount, or all entries.
    async fn remove_entries(&mut self, namespace: &str, account: &str, how: &str) -> bool {
        let has_it = self.namespace(namespace).accounts.contains_key(account);
        if !has_it || !self.may_revert(format!("{namespace}/{account}")) {
            return false;
        }
        if how == "wipe" {
            self.rewrite(namespace, account, |_| Vec::new()).await;
            self.others(namespace, account).clear();
        } else {
            self.rewrite(namespace, account, |entries| without(entries, SECRET)).await;
        }
        true
    }

    /// Adds or removes another tool's entry; regcred's entry keeps its place.
    async fn entry(&mut self, namespace: &str, account: &str, how: &str) -> bool {
        if !self.namespace(namespace).accounts.contains_key(account) {
            return false;
        }
        let name = format!("other-{}", self.rng.below(5));
        let is_there = self.others(namespace, account).contains(&name);
        if is_there == (how == "add") {
            return false;
        }
        if how == "add" {
            self.rewrite(namespace, account, |entries| entries.into_iter().chain([name.clone()]).collect())
                .await;
            self.others(namespace, account).push(name);
        } else {
            self.rewrite(namespace, account, |entries| without(entries, &name)).await;
            self.others(namespace, account).retain(|it| *it != name);
        }
        true
    }

    async fn create(&mut self, namespace: &str, account: &str) -> bool {
        if self.namespace(namespace).accounts.contains_key(account) {
            return false;
        }
        let object = json!({"metadata": {"name": account}, "imagePullSecrets": [{"name": "own"}]});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.cluster.kube.post(&path, &object).await.expect("a ServiceAccount");
        self.namespace(namespace).accounts.insert(account.to_owned(), vec!["own".to_owned()]);
        true
    }

    /// Deletes a ServiceAccount; the controller manager recreates `default`, empty.
    async fn drop(&mut self, namespace: &str, account: &str) -> bool {
        let has_it = self.namespace(namespace).accounts.contains_key(account);
        if !has_it || !self.may_revert(format!("{namespace}/{account}")) {
            return false;
        }
        let path = account_path(namespace, account);
        let before = self.cluster.kube.get(&path).await.expect("a ServiceAccount");
        self.cluster.kube.delete(&path).await.expect("a deletion");
        if account == "default" {
            until("the controller manager has recreated it", async || {
                let after = self.cluster.kube.get(&path).await;
                after.is_ok_and(|after| after["metadata"]["uid"] != before["metadata"]["uid"])
            })
            .await;
            self.others(namespace, account).clear();
        } else {
            self.namespace(namespace).accounts.remove(account);
        }
        true
    }

    async fn select(&mut self, namespace: &str) -> bool {
        let selected = !self.namespace(namespace).selected;
        self.cluster.select(namespace, selected).await;
        self.namespace(namespace).selected = selected;
        true
    }

    /// Creates a foreign Secret of this name where none exists, or deletes it.
    async fn foreign(&mut self, namespace: &str) -> bool {
        let state = self.namespace(namespace).clone();
        if state.foreign {
            self.cluster.kube.delete(&secret_path(namespace)).await.expect("a deletion");
            self.namespace(namespace).foreign = false;
            return true;
        }
        if state.selected {
            return false;
        }
        let secret = json!({"metadata": {"name": SECRET}, "stringData": {"foreign": "x"}});
        // The pull secret may exist for another moment; then the creation fails.
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let made = self.cluster.kube.post(&path, &secret).await.is_ok();
        self.namespace(namespace).foreign = made;
        made
    }

    async fn rotate(&mut self, password: String) {
        self.cluster.put_password(&password).await;
        self.cluster.request_rotation(self.cluster.name).await;
        self.model.password = password;
    }

    fn others(&mut self, namespace: &str, account: &str) -> &mut Vec<String> {
        self.namespace(namespace).accounts.get_mut(account).expect("a ServiceAccount of the model")
    }

    /// Changes a list as a careful tool does: under the resourceVersion that it read, with a retry after a conflict.
    async fn rewrite(&self, namespace: &str, account: &str, change: impl Fn(Vec<String>) -> Vec<String>) {
        let path = account_path(namespace, account);
        until("a write without a conflict", async || {
            let mut object = self.cluster.kube.get(&path).await.expect("a ServiceAccount");
            let entries = change(references_of(&object));
            object["imagePullSecrets"] = entries.iter().map(|name| json!({"name": name})).collect();
            self.cluster.kube.put(&path, &object).await.is_ok()
        })
        .await;
    }
}

fn without(entries: Vec<String>, name: &str) -> Vec<String> {
    entries.into_iter().filter(|it| it != name).collect()
}

fn secret_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{SECRET}")
}

fn account_path(namespace: &str, account: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}")
}

/// The current state of the namespaces.
async fn observed(cluster: &TestCluster) -> BTreeMap<String, View> {
    let mut views: BTreeMap<String, View> =
        cluster.namespaces.iter().map(|name| (name.clone(), View::default())).collect();
    for (namespace, secret) in cluster.secrets().await {
        let is_managed = secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "regcred";
        let password = password_of(&secret, HOST).unwrap_or_default();
        let content = if is_managed { Content::Managed(password) } else { Content::Foreign };
        views.entry(namespace).or_default().secret = content;
    }
    let list = cluster.kube.get("/api/v1/serviceaccounts").await.expect("a list of ServiceAccounts");
    for account in list["items"].as_array().into_iter().flatten() {
        let Some(view) = views.get_mut(&text(&account["metadata"]["namespace"])) else { continue };
        let (own, others): (Vec<_>, Vec<_>) = references_of(account).into_iter().partition(|it| it == SECRET);
        view.accounts.insert(text(&account["metadata"]["name"]), Account { others, own: own.len() });
    }
    views
}

fn differences(observed: &BTreeMap<String, View>, expected: &BTreeMap<String, View>) -> Vec<String> {
    let differ = expected.iter().filter(|(name, view)| observed.get(*name) != Some(view));
    differ.map(|(name, view)| format!("{name}: {:?} instead of {view:?}", observed.get(name))).collect()
}

#[tokio::test]
async fn churn_ends_in_the_state_that_the_model_predicts() {
    let cluster = cluster_with_shared_namespaces("churn", NAMESPACES).await;
    let controller = cluster.start_synced_with("password-0", "serviceAccounts", json!(ACCOUNTS[..2])).await;

    let accounts = BTreeMap::from([("default".to_owned(), Vec::new())]);
    let namespace = Namespace { selected: true, foreign: false, accounts };
    let model = Model {
        password: "password-0".to_owned(),
        named: BTreeSet::from(["default".to_owned(), "builder".to_owned()]),
        namespaces: cluster.namespaces.iter().map(|name| (name.clone(), namespace.clone())).collect(),
    };
    let (reverts, steps) = (BTreeMap::new(), BTreeMap::new());
    let mut script = Script { cluster: &cluster, rng: Rng::new(), model, reverts, steps };
    let steps = repetitions(STEPS);
    for step in 1..=steps {
        script.step().await;
        if step % (steps / 6) == 0 {
            script.rotate(format!("password-{step}")).await;
        }
    }

    let expected = script.model.predict();
    let is_reached = is_true_within(TIMEOUT, async || observed(&cluster).await == expected).await;
    let differences = differences(&observed(&cluster).await, &expected);
    assert!(is_reached, "after {:?} differ:\n{}", script.steps, differences.join("\n"));
    let (selected, failed) = script.model.counts();
    let counts = json!({"selected": selected, "inSync": selected - failed, "failed": failed});
    until("the status counts as the model does", async || {
        cluster.status("churn").await["namespaces"] == counts
    })
    .await;

    // The final state is stable.
    cluster.until_idle().await;
    assert!(!controller.has_ended());
}
