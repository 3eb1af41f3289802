//! Validates what a schema cannot express: documents against each other, names against what they refer to.
//!
//! In: trees of nodes. Out: [`Manifests`], which are complete only if there is no error. Every field is
//! validated by itself, at its own place and no matter what is wrong around it, so that no error hides
//! another; what a function here returns is right only if it added no error.

mod aws_store;
pub(crate) mod cluster_pull_secret;
pub(crate) mod object;
pub(crate) mod selection;
mod store;
pub(crate) mod text;
mod triggers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cluster_pull_secret::ClusterPullSecret;
use super::config::triggers::Triggers;
use super::config::{self, Backend, Config, Store};
use super::field::{FieldErrors, FieldPath};
use super::schema;
use super::wire::{API_VERSION, CLUSTER_PULL_SECRET, CONFIG, DEFAULT_MAX_POLLS_PER_SECOND};
use super::yaml::document::Document;
use text::is_list;

/// The kind in which `kubectl get -o yaml` wraps several objects.
const LIST: &str = "List";

/// The name of the store that exists if no Config defines one.
const DEFAULT_STORE: &str = "files";

/// The content of all manifests after validation.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The stores of every Config; a directory called `files` if none defines any.
    pub stores: Vec<Store>,
    /// The triggers of the controller.
    pub triggers: Triggers,
    /// The ClusterPullSecrets in the order given: if two claim one Secret, the first is the older.
    pub cluster_pull_secrets: Vec<ClusterPullSecret>,
}

/// Validates all documents; the result is right only if there is no error.
pub(crate) fn validate(
    documents: &[Document],
    default_files_directory: &Path,
    errors: &mut FieldErrors,
) -> Manifests {
    // An unreadable document may have held the stores that others refer to, and so may a store
    // without a name.
    let are_stores_known = errors.0.is_empty();
    let roots = documents.iter().map(|document| FieldPath::root(&document.source, &document.root));
    let paths: Vec<FieldPath<'_>> = roots.flat_map(|root| unwrap_list(root, errors)).collect();

    let mut stores = DeclaredStores::default();
    for path in paths.iter().filter(|path| kind(path) == Some(CONFIG)) {
        stores.add_config(path, errors);
    }
    if stores.first_uses.is_empty() {
        stores.add_default(default_files_directory);
    }
    let known_stores = (are_stores_known && !stores.has_nameless).then(|| stores.names());
    let has_no_events = are_stores_known && !stores.may_have_aws_events;
    if let Some(path) = stores.first_triggers.as_ref().filter(|_| has_no_events) {
        triggers::require_aws_store(path, errors);
    }

    let mut cluster_pull_secrets = Vec::new();
    let mut first_uses: BTreeMap<String, FieldPath<'_>> = BTreeMap::new();
    for path in &paths {
        match kind(path) {
            Some(CONFIG) => {}
            Some(CLUSTER_PULL_SECRET) => {
                validate_api_version(path, errors);
                let name = path.field("metadata").field("name");
                validate_unique(&name, "a ClusterPullSecret", &mut first_uses, errors);
                cluster_pull_secrets.extend(cluster_pull_secret::validate(
                    path,
                    known_stores.as_deref(),
                    errors,
                ));
            }
            Some(other) => {
                let detail = schema::unknown("kind", other, &[CONFIG, CLUSTER_PULL_SECRET]);
                errors.push(path.field("kind").error(detail));
            }
            None => {
                let detail = format!("must be a map with a kind, {CONFIG} or {CLUSTER_PULL_SECRET}");
                errors.push(path.error(detail));
            }
        }
    }
    let admission = config::admission(&stores.validated);
    for cluster_pull_secret in &mut cluster_pull_secrets {
        cluster_pull_secret.admission = Arc::clone(&admission);
    }
    let triggers = stores.triggers.unwrap_or_default();
    Manifests { stores: stores.validated, triggers, cluster_pull_secrets }
}

/// The stores and triggers of all Configs.
#[derive(Default)]
struct DeclaredStores<'a> {
    validated: Vec<Store>,
    /// Every name in a Config, also of a store that is invalid otherwise: references to it are right.
    first_uses: BTreeMap<String, FieldPath<'a>>,
    /// True if some store, or a whole list of them, has no readable name.
    has_nameless: bool,
    /// True if AWS sends events about some store, or a store has no known backend.
    may_have_aws_events: bool,
    /// The triggers of the one Config that has some.
    triggers: Option<Triggers>,
    /// The place of these triggers.
    first_triggers: Option<FieldPath<'a>>,
}

impl<'a> DeclaredStores<'a> {
    fn add_config(&mut self, path: &FieldPath<'a>, errors: &mut FieldErrors) {
        validate_api_version(path, errors);
        schema::validate::<Config>(path, &[], errors);
        let list = path.field("stores");
        self.has_nameless |= !is_list(&list);
        self.may_have_aws_events |= !is_list(&list);
        for store in list.items() {
            self.has_nameless |= store.field("name").text().is_none();
            self.may_have_aws_events |= store::may_have_aws_events(&store);
            validate_unique(&store.field("name"), "a store", &mut self.first_uses, errors);
            self.validated.extend(store::validate(&store, errors));
        }
        self.add_triggers(path.field("triggers"), errors);
    }

    fn add_triggers(&mut self, path: FieldPath<'a>, errors: &mut FieldErrors) {
        if path.node().is_none() {
            return;
        }
        match &self.first_triggers {
            Some(first) => {
                errors.push(path.error(format!("another Config has triggers, at {first}: merge them")));
            }
            None => {
                self.triggers = triggers::validate(&path, errors);
                self.first_triggers = Some(path);
            }
        }
    }

    fn add_default(&mut self, directory: &Path) {
        self.validated.push(Store {
            name: DEFAULT_STORE.to_owned(),
            keys: None,
            admission: Arc::default(),
            max_polls_per_second: DEFAULT_MAX_POLLS_PER_SECOND,
            backend: Backend::DefaultDirectory(directory.to_owned()),
        });
    }

    fn names(&self) -> Vec<String> {
        let validated = self.validated.iter().map(|store| store.name.clone());
        let mut names: Vec<String> = self.first_uses.keys().cloned().chain(validated).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Returns the objects of a `kind: List`, and any other document as it is.
fn unwrap_list<'a>(path: FieldPath<'a>, errors: &mut FieldErrors) -> Vec<FieldPath<'a>> {
    if kind(&path) != Some(LIST) {
        return vec![path];
    }
    let items: Vec<FieldPath<'a>> = path.field("items").items().collect();
    if items.is_empty() {
        errors.push(path.field("items").error("has no items"));
    }
    items
}

fn kind<'a>(path: &FieldPath<'a>) -> Option<&'a str> {
    path.field("kind").text()
}

/// Rejects another version; for a version that is absent or no text, the schema has an error.
fn validate_api_version(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let path = path.field("apiVersion");
    if path.text().is_some_and(|version| version != API_VERSION) {
        errors.push(path.error(format!("must be {API_VERSION}")));
    }
}

/// Rejects a name that is used already by one of its `kind`; for a name that is no text, the schema has an error.
fn validate_unique<'a>(
    path: &FieldPath<'a>,
    kind: &str,
    first_uses: &mut BTreeMap<String, FieldPath<'a>>,
    errors: &mut FieldErrors,
) {
    let Some(name) = path.text() else { return };
    match first_uses.get(name) {
        Some(first) => errors.push(path.error(format!("{kind} has this name already, at {first}"))),
        None => {
            first_uses.insert(name.to_owned(), path.clone());
        }
    }
}
