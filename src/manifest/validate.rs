//! What a schema cannot say: documents against each other, names against what they name.
//!
//! In: trees of nodes. Out: [`Manifests`], complete only when no mistake was noted on the way. Every
//! field is checked by itself, where it is written and whatever is wrong with those around it, so that
//! no mistake hides another; what a check returns is right only where it noted nothing.

pub(crate) mod cluster_pull_secret;
pub(crate) mod selection;
mod store;
mod triggers;

use std::collections::BTreeMap;
use std::path::Path;

use super::Manifests;
use super::config::triggers::Triggers;
use super::config::{Backend, Config, FileStore, Store};
use super::document::Document;
use super::field::{FieldError, FieldErrors, FieldPath};
use super::names::Rule;
use super::node::Value;
use super::schema;
use super::selection::glob;

/// The only version of the manifests there is.
pub const API_VERSION: &str = "regcred.dev/v1alpha1";

pub(crate) const CONFIG: &str = "Config";
/// The kind whose objects are wishes.
pub const CLUSTER_PULL_SECRET: &str = "ClusterPullSecret";

/// What `kubectl get -o yaml` wraps several objects in.
const LIST: &str = "List";

/// The store there is when no Config defines one.
const DEFAULT_STORE: &str = "files";

/// Notes every mistake of the documents; what it returns is right only where there is none.
pub(crate) fn check(
    documents: &[Document],
    default_files_directory: &Path,
    mistakes: &mut FieldErrors,
) -> Manifests {
    // A document that could not be read may have held the stores that others speak of, and so may a
    // store whose name is missing.
    let are_stores_known = mistakes.0.is_empty();
    let roots = documents.iter().map(|document| FieldPath::root(&document.origin, &document.root));
    let spots: Vec<FieldPath<'_>> = roots.flat_map(|root| unwrapped(root, mistakes)).collect();

    let mut stores = Stores::default();
    for spot in spots.iter().filter(|spot| kind(spot) == Some(CONFIG)) {
        stores.read(spot, mistakes);
    }
    if stores.first_uses.is_empty() {
        stores.add_default(default_files_directory);
    }
    let known_stores = (are_stores_known && !stores.have_nameless).then(|| stores.names());
    if let Some(spot) = stores.first_triggers.as_ref().filter(|_| are_stores_known && !stores.may_be_of_aws) {
        triggers::check_queues_concern_a_store(spot, mistakes);
    }

    let mut cluster_pull_secrets = Vec::new();
    let mut first_uses: BTreeMap<String, FieldPath<'_>> = BTreeMap::new();
    for spot in &spots {
        match kind(spot) {
            Some(CONFIG) => {}
            Some(CLUSTER_PULL_SECRET) => {
                check_api_version(spot, mistakes);
                let name = spot.field("metadata").field("name");
                check_is_new(&name, "a ClusterPullSecret", &mut first_uses, mistakes);
                cluster_pull_secrets.extend(cluster_pull_secret::check(
                    spot,
                    known_stores.as_deref(),
                    mistakes,
                ));
            }
            Some(other) => {
                let what = schema::unknown("kind", other, &[CONFIG, CLUSTER_PULL_SECRET]);
                mistakes.push(spot.field("kind").mistake(what));
            }
            None => {
                let what = format!("must be a map with a kind, {CONFIG} or {CLUSTER_PULL_SECRET}");
                mistakes.push(spot.mistake(what));
            }
        }
    }
    let triggers = stores.triggers.unwrap_or_default();
    Manifests { stores: stores.checked, triggers, cluster_pull_secrets }
}

/// The stores of all Configs, and what wakes the controller.
#[derive(Default)]
struct Stores<'a> {
    checked: Vec<Store>,
    /// Every name that is written down, also where the store is wrong otherwise: who speaks of it is right.
    first_uses: BTreeMap<String, FieldPath<'a>>,
    /// Whether some store, or a whole list of them, is there without its name.
    have_nameless: bool,
    /// Whether some store is of AWS, or says of itself no other kind.
    may_be_of_aws: bool,
    /// What the one Config says that has `triggers`.
    triggers: Option<Triggers>,
    /// Where that is.
    first_triggers: Option<FieldPath<'a>>,
}

impl<'a> Stores<'a> {
    fn read(&mut self, spot: &FieldPath<'a>, mistakes: &mut FieldErrors) {
        check_api_version(spot, mistakes);
        schema::validate::<Config>(spot, &[], mistakes);
        let list = spot.field("stores");
        self.have_nameless |= !is_list(&list);
        self.may_be_of_aws |= !is_list(&list);
        for store in list.items() {
            self.have_nameless |= store.field("name").text().is_none();
            self.may_be_of_aws |= store::may_be_of_aws(&store);
            check_is_new(&store.field("name"), "a store", &mut self.first_uses, mistakes);
            self.checked.extend(store::check(&store, mistakes));
        }
        self.read_triggers(spot.field("triggers"), mistakes);
    }

    fn read_triggers(&mut self, spot: FieldPath<'a>, mistakes: &mut FieldErrors) {
        if spot.node().is_none() {
            return;
        }
        match &self.first_triggers {
            Some(first) => mistakes
                .push(spot.mistake(format!("another Config has triggers, at {first}: put them together"))),
            None => {
                self.triggers = triggers::check(&spot, mistakes);
                self.first_triggers = Some(spot);
            }
        }
    }

    fn add_default(&mut self, directory: &Path) {
        self.checked.push(Store {
            name: DEFAULT_STORE.to_owned(),
            keys: None,
            backend: Backend::File(FileStore { directory: directory.to_owned() }),
        });
    }

    fn names(&self) -> Vec<String> {
        let checked = self.checked.iter().map(|store| store.name.clone());
        let mut names: Vec<String> = self.first_uses.keys().cloned().chain(checked).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The objects of a `kind: List`; any other document as it is.
fn unwrapped<'a>(spot: FieldPath<'a>, mistakes: &mut FieldErrors) -> Vec<FieldPath<'a>> {
    if kind(&spot) != Some(LIST) {
        return vec![spot];
    }
    let items: Vec<FieldPath<'a>> = spot.field("items").items().collect();
    if items.is_empty() {
        mistakes.push(spot.field("items").mistake("has no items"));
    }
    items
}

fn kind<'a>(spot: &FieldPath<'a>) -> Option<&'a str> {
    spot.field("kind").text()
}

/// Where the version is absent or no text at all, the shape says so.
fn check_api_version(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let spot = spot.field("apiVersion");
    if spot.text().is_some_and(|version| version != API_VERSION) {
        mistakes.push(spot.mistake(format!("must be {API_VERSION}")));
    }
}

/// Notes a name that something of its sort has already; names that are no text are for the shape to note.
fn check_is_new<'a>(
    spot: &FieldPath<'a>,
    sort: &str,
    first_uses: &mut BTreeMap<String, FieldPath<'a>>,
    mistakes: &mut FieldErrors,
) {
    let Some(name) = spot.text() else { return };
    match first_uses.get(name) {
        Some(first) => mistakes.push(spot.mistake(format!("{sort} has this name already, at {first}"))),
        None => {
            first_uses.insert(name.to_owned(), spot.clone());
        }
    }
}

/// Notes what is wrong with a name.
fn check_name(spot: &FieldPath<'_>, rule: fn(&str) -> Result<(), Rule>, mistakes: &mut FieldErrors) {
    if let Some(Err(rule)) = spot.text().map(rule) {
        mistakes.push(spot.mistake(rule));
    }
}

pub(crate) const EMPTY: Rule = "must not be empty";
pub(crate) const CONTROL: Rule = "must not have line breaks or other control characters";
pub(crate) const SPACE: Rule = "must not begin or end with a space";

/// Notes a text that is empty or that no field of this sort can hold.
fn check_text(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let Some(text) = spot.text() else { return };
    if text.is_empty() {
        mistakes.push(spot.mistake(EMPTY));
    } else if text.chars().any(char::is_control) {
        mistakes.push(spot.mistake(CONTROL));
    } else if text.trim() != text {
        mistakes.push(spot.mistake(SPACE));
    }
}

/// The globs of a list; every pattern that is empty or no glob is noted.
fn check_globs(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Vec<String> {
    let mut globs = Vec::new();
    for spot in spot.items() {
        check_text(&spot, mistakes);
        let Some(text) = spot.text() else { continue };
        match glob(text) {
            Ok(_) => globs.push(text.to_owned()),
            Err(error) => mistakes.push(no_glob(&spot, &error)),
        }
    }
    globs
}

/// Only the kind of the error: the error itself repeats the pattern.
fn no_glob(spot: &FieldPath<'_>, error: &globset::Error) -> FieldError {
    spot.mistake(format!("is no glob: {}", error.kind()))
}

fn is_list(spot: &FieldPath<'_>) -> bool {
    spot.node().is_some_and(|node| matches!(node.value, Value::List(_)))
}
