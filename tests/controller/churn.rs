//! An hour of what happens to two hundred namespaces, in half a minute: whatever the order, the end is what the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::model::{Account, Content, Model, Namespace, View};
use crate::stage::{HOST, SECRET, Stage, comes_true, password_of, references_of, until};

const CROWD: usize = 200;
const STEPS: usize = 1200;
/// A third time in ten minutes would be a contest, and be answered later than the test can wait.
const UNDOINGS: usize = 2;
/// How long the end may take to settle.
const PATIENCE: Duration = Duration::from_mins(2);
/// The ServiceAccounts that come and go; the spec names the first two.
const ACCOUNTS: [&str; 3] = ["default", "builder", "stranger"];

/// Plays the script: each step is done to the cluster and to the model.
struct Script<'a> {
    stage: &'a Stage,
    dice: Dice,
    model: Model,
    /// How often something of ours was undone, by Secret or ServiceAccount.
    undone: BTreeMap<String, usize>,
    steps: BTreeMap<&'static str, usize>,
}

impl Script<'_> {
    async fn step(&mut self) {
        let namespace = self.dice.pick(&self.stage.namespaces).clone();
        let account = *self.dice.pick(&ACCOUNTS);
        let steps = [
            "edit", "delete", "strip", "wipe", "add", "add", "remove", "create", "drop", "select", "select",
            "foreign",
        ];
        let step = *self.dice.pick(&steps);
        let done = match step {
            "edit" | "delete" => self.damage(&namespace, step).await,
            "strip" | "wipe" => self.take(&namespace, account, step).await,
            "add" | "remove" => self.entry(&namespace, account, step).await,
            "create" => self.create(&namespace, account).await,
            "drop" => self.drop(&namespace, account).await,
            "select" => self.select(&namespace).await,
            _ => self.foreign(&namespace).await,
        };
        *self.steps.entry(step).or_default() += usize::from(done);
    }

    /// Whether something of ours may be undone once more.
    fn may_undo(&mut self, what: String) -> bool {
        let undone = self.undone.entry(what).or_default();
        *undone += 1;
        *undone <= UNDOINGS
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace {
        self.model.namespaces.get_mut(name).expect("a namespace of the model")
    }

    async fn damage(&mut self, namespace: &str, how: &str) -> bool {
        let state = self.namespace(namespace);
        if !state.selected || state.foreign || !self.may_undo(format!("{namespace}/secret")) {
            return false;
        }
        let path = secret_path(namespace);
        // It may not be there yet, and then nothing is done to it.
        match how {
            "edit" => {
                self.stage.kube.patch(&path, &json!({"data": {".dockerconfigjson": "e30="}})).await.is_ok()
            }
            _ => self.stage.kube.delete(&path).await.is_ok(),
        }
    }

    /// Takes our entry off a ServiceAccount, or all entries.
    async fn take(&mut self, namespace: &str, account: &str, how: &str) -> bool {
        let has_it = self.namespace(namespace).accounts.contains_key(account);
        if !has_it || !self.may_undo(format!("{namespace}/{account}")) {
            return false;
        }
        if how == "wipe" {
            self.rewrite(namespace, account, |_| Vec::new()).await;
            self.others(namespace, account).clear();
        } else {
            let others = |entries: Vec<String>| entries.into_iter().filter(|it| it != SECRET).collect();
            self.rewrite(namespace, account, others).await;
        }
        true
    }

    /// Somebody else's entry comes or goes; ours keeps its place.
    async fn entry(&mut self, namespace: &str, account: &str, how: &str) -> bool {
        if !self.namespace(namespace).accounts.contains_key(account) {
            return false;
        }
        let name = format!("other-{}", self.dice.below(5));
        let is_there = self.others(namespace, account).contains(&name);
        if is_there == (how == "add") {
            return false;
        }
        if how == "add" {
            self.rewrite(namespace, account, |entries| entries.into_iter().chain([name.clone()]).collect())
                .await;
            self.others(namespace, account).push(name);
        } else {
            let rest = |entries: Vec<String>| entries.into_iter().filter(|it| *it != name).collect();
            self.rewrite(namespace, account, rest).await;
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
        self.stage.kube.post(&path, &object).await.expect("a ServiceAccount");
        self.namespace(namespace).accounts.insert(account.to_owned(), vec!["own".to_owned()]);
        true
    }

    /// Deletes a ServiceAccount; the controller manager makes `default` again, empty.
    async fn drop(&mut self, namespace: &str, account: &str) -> bool {
        let has_it = self.namespace(namespace).accounts.contains_key(account);
        if !has_it || !self.may_undo(format!("{namespace}/{account}")) {
            return false;
        }
        let path = account_path(namespace, account);
        let before = self.stage.kube.get(&path).await.expect("a ServiceAccount");
        self.stage.kube.delete(&path).await.expect("a deletion");
        if account == "default" {
            until("the controller manager has made it again", async || {
                let after = self.stage.kube.get(&path).await;
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
        self.stage.select(namespace, selected).await;
        self.namespace(namespace).selected = selected;
        true
    }

    /// Somebody else's Secret takes the name where it is free, or gives it up.
    async fn foreign(&mut self, namespace: &str) -> bool {
        let state = self.namespace(namespace).clone();
        if state.foreign {
            self.stage.kube.delete(&secret_path(namespace)).await.expect("a deletion");
            self.namespace(namespace).foreign = false;
            return true;
        }
        if state.selected {
            return false;
        }
        let secret = json!({"metadata": {"name": SECRET}, "stringData": {"theirs": "x"}});
        // Ours may still be there for a moment, and then it does not come to be.
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let made = self.stage.kube.post(&path, &secret).await.is_ok();
        self.namespace(namespace).foreign = made;
        made
    }

    async fn rotate(&mut self, password: String) {
        self.stage.put_password(&password).await;
        self.stage.ask(self.stage.name).await;
        self.model.password = password;
    }

    fn others(&mut self, namespace: &str, account: &str) -> &mut Vec<String> {
        self.namespace(namespace).accounts.get_mut(account).expect("a ServiceAccount of the model")
    }

    /// Changes a list as a careful tool does: under the version it was read at, again where another writer came first.
    async fn rewrite(&self, namespace: &str, account: &str, change: impl Fn(Vec<String>) -> Vec<String>) {
        let path = account_path(namespace, account);
        until("a write without a conflict", async || {
            let mut object = self.stage.kube.get(&path).await.expect("a ServiceAccount");
            let entries = change(references_of(&object));
            object["imagePullSecrets"] = entries.iter().map(|name| json!({"name": name})).collect();
            self.stage.kube.put(&path, &object).await.is_ok()
        })
        .await;
    }
}

fn secret_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{SECRET}")
}

fn account_path(namespace: &str, account: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}")
}

/// The namespaces as they are.
async fn found(stage: &Stage) -> BTreeMap<String, View> {
    let mut views: BTreeMap<String, View> =
        stage.namespaces.iter().map(|name| (name.clone(), View::default())).collect();
    for (namespace, secret) in stage.secrets().await {
        let is_ours = secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "regcred";
        let password = password_of(&secret, HOST).unwrap_or_default();
        let content = if is_ours { Content::Ours(password) } else { Content::Foreign };
        views.entry(namespace).or_default().secret = content;
    }
    let list = stage.kube.get("/api/v1/serviceaccounts").await.expect("a list of ServiceAccounts");
    for account in list["items"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Some(view) = views.get_mut(&text(&account["metadata"]["namespace"])) else { continue };
        let (ours, others): (Vec<_>, Vec<_>) =
            references_of(account).into_iter().partition(|it| it == SECRET);
        view.accounts.insert(text(&account["metadata"]["name"]), Account { others, ours: ours.len() });
    }
    views
}

fn differences(found: &BTreeMap<String, View>, expected: &BTreeMap<String, View>) -> Vec<String> {
    let differ = expected.iter().filter(|(name, view)| found.get(*name) != Some(view));
    differ.map(|(name, view)| format!("{name}: {:?} instead of {view:?}", found.get(name))).collect()
}

#[tokio::test]
async fn an_hour_of_churn_ends_in_the_state_that_the_model_predicts() {
    let stage = Stage::with_crowd("churn", CROWD).await;
    let controller = stage.serve_with("password-0", "serviceAccounts", json!(ACCOUNTS[..2])).await;

    let accounts = BTreeMap::from([("default".to_owned(), Vec::new())]);
    let namespace = Namespace { selected: true, foreign: false, accounts };
    let model = Model {
        password: "password-0".to_owned(),
        named: BTreeSet::from(["default".to_owned(), "builder".to_owned()]),
        namespaces: stage.namespaces.iter().map(|name| (name.clone(), namespace.clone())).collect(),
    };
    let (undone, steps) = (BTreeMap::new(), BTreeMap::new());
    let mut script = Script { stage: &stage, dice: Dice::new(), model, undone, steps };
    for step in 1..=STEPS {
        script.step().await;
        if step % (STEPS / 6) == 0 {
            script.rotate(format!("password-{step}")).await;
        }
    }

    let expected = script.model.predict();
    let is_so = comes_true(PATIENCE, async || found(&stage).await == expected).await;
    let differences = differences(&found(&stage).await, &expected);
    assert!(is_so, "after {:?} differ:\n{}", script.steps, differences.join("\n"));
    let (selected, failed) = script.model.counts();
    let counts = json!({"selected": selected, "inSync": selected - failed, "failed": failed});
    until("the status counts as the model does", async || {
        stage.status("churn").await["namespaces"] == counts
    })
    .await;

    // The end is an end.
    stage.until_quiet().await;
    assert!(!controller.has_ended());
}
