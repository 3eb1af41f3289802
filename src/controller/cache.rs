//! The cluster as it is remembered.
//!
//! Pure. In goes what watches saw and what our own writes left behind, out comes which namespace has to
//! be looked at again. What is older than what is known is passed over, so that the echo of a write
//! of ours is no news. Of Secrets of others no bytes are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::ExposeSecret;

use super::drift::Thing;
use crate::cluster::watch::{Object, ObjectRef, WatchedResource};
use crate::cluster::{Cluster, DockerConfigBytes, Namespace, Secret, ServiceAccount, age};
use crate::reconcile::execute::{AfterWrite, Applied};

/// The cluster as it is remembered.
#[derive(Debug, Default)]
pub struct Cache {
    /// What there is.
    pub cluster: Cluster,
    /// Objects that were seen before their namespace was.
    strangers: BTreeMap<String, Namespace>,
    /// One copy of each docker config, however many Secrets hold it.
    docker_configs: Vec<DockerConfigBytes>,
    /// Namespaces in which work is under way.
    busy: BTreeSet<String>,
    /// What was deleted there since it began, and as of which [`age`]; no name is both a Secret's and a
    /// ServiceAccount's without harm: at worst it is read again.
    graves: BTreeMap<String, BTreeMap<String, u128>>,
}

/// What a piece of news means.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This namespace has to be looked at again.
    Changed {
        /// The namespace.
        namespace: String,
        /// What of ours somebody took away or changed.
        undone: Vec<Thing>,
    },
    /// Nothing that was not known.
    Known,
}

impl News {
    fn of(namespace: &str, undone: Vec<Thing>) -> Self {
        Self::Changed { namespace: namespace.to_owned(), undone }
    }
}

impl Cache {
    /// An object is there, or was changed.
    pub fn there(&mut self, (namespace, name): ObjectRef, object: Object) -> News {
        match object {
            Object::Namespace { labels, terminating } => self.namespace(name, labels, terminating),
            Object::ServiceAccount(object) => self.service_account(&namespace, name, object),
            Object::Secret(object) => self.secret(&namespace, name, object),
            Object::ClusterPullSecret(_) => News::Known,
        }
    }

    fn namespace(&mut self, name: String, labels: BTreeMap<String, String>, terminating: bool) -> News {
        if let Some(known) = self.cluster.namespaces.get_mut(&name) {
            if known.labels == labels && known.terminating == terminating {
                return News::Known;
            }
            (known.labels, known.terminating) = (labels, terminating);
            return News::of(&name, Vec::new());
        }
        let found = self.strangers.remove(&name).unwrap_or_default();
        let news = News::of(&name, Vec::new());
        self.cluster.namespaces.insert(name, Namespace { labels, terminating, ..found });
        news
    }

    fn service_account(&mut self, namespace: &str, name: String, object: ServiceAccount) -> News {
        let home = self.home(namespace);
        let Some(known) = home.service_accounts.get_mut(&name) else {
            home.service_accounts.insert(name, object);
            return News::of(namespace, Vec::new());
        };
        if age(&object.resource_version) <= age(&known.resource_version) {
            return News::Known;
        }
        let undone = undone_entries(&name, known, &object);
        let is_same =
            (&known.image_pull_secrets, &known.added) == (&object.image_pull_secrets, &object.added);
        *known = object;
        // The precondition of the next write is new, what there is to write is not.
        if is_same { News::Known } else { News::of(namespace, undone) }
    }

    fn secret(&mut self, namespace: &str, name: String, object: Secret) -> News {
        let home = self.home(namespace);
        let known = home.secrets.get(&name);
        if known.is_some_and(|known| age(&object.resource_version) <= age(&known.resource_version)) {
            return News::Known;
        }
        home.secrets.insert(name, object);
        // Whether that undid something is known when the Secret was read.
        News::of(namespace, Vec::new())
    }

    /// An object is gone, as of the [`age`] of a `resourceVersion`.
    pub fn gone(&mut self, subject: &WatchedResource, (namespace, name): &ObjectRef, as_of: u128) -> News {
        match subject {
            WatchedResource::Namespaces => self.namespace_gone(name, as_of),
            WatchedResource::ServiceAccounts => {
                self.bury(namespace, name, as_of);
                let Some(home) = self.known_home(namespace) else { return News::Known };
                let known = home.service_accounts.get(name);
                if known.is_none_or(|known| as_of < age(&known.resource_version)) {
                    return News::Known;
                }
                home.service_accounts.remove(name);
                self.tidy(namespace);
                News::of(namespace, Vec::new())
            }
            WatchedResource::Secrets(_) => {
                self.bury(namespace, name, as_of);
                let Some(home) = self.known_home(namespace) else { return News::Known };
                let known = home.secrets.get(name).filter(|known| as_of >= age(&known.resource_version));
                let Some(known) = known else { return News::Known };
                let undone = known.has_known_data().then(|| Thing::Secret(name.clone()));
                home.secrets.remove(name);
                self.tidy(namespace);
                News::of(namespace, undone.into_iter().collect())
            }
            WatchedResource::ClusterPullSecrets => News::Known,
        }
    }

    /// What was seen in it later belongs to another one of the same name.
    fn namespace_gone(&mut self, name: &str, as_of: u128) -> News {
        if let Some(mut home) = self.cluster.namespaces.remove(name) {
            home.secrets.retain(|_, it| age(&it.resource_version) > as_of);
            home.service_accounts.retain(|_, it| age(&it.resource_version) > as_of);
            self.strangers.insert(name.to_owned(), home);
            self.tidy(name);
        }
        self.graves.remove(name);
        News::of(name, Vec::new())
    }

    /// While work in a namespace is under way, what it found there may be gone before it comes back.
    fn bury(&mut self, namespace: &str, name: &str, as_of: u128) {
        if self.busy.contains(namespace) {
            self.graves.entry(namespace.to_owned()).or_default().insert(name.to_owned(), as_of);
        }
    }

    /// Work in a namespace begins.
    pub fn begin(&mut self, namespace: &str) {
        self.busy.insert(namespace.to_owned());
    }

    /// Everything of a subject was listed: what is not among it is gone.
    pub fn listed(&mut self, subject: &WatchedResource, present: &BTreeSet<ObjectRef>) -> Vec<News> {
        let namespaces = self.cluster.namespaces.iter().chain(&self.strangers);
        let known: Vec<ObjectRef> = match subject {
            WatchedResource::Namespaces => {
                self.cluster.namespaces.keys().map(|name| (String::new(), name.clone())).collect()
            }
            WatchedResource::ServiceAccounts => namespaces
                .flat_map(|(ns, it)| it.service_accounts.keys().map(|name| (ns.clone(), name.clone())))
                .collect(),
            WatchedResource::Secrets(name) => namespaces
                .filter(|(_, it)| it.secrets.contains_key(name))
                .map(|(ns, _)| (ns.clone(), name.clone()))
                .collect(),
            WatchedResource::ClusterPullSecrets => Vec::new(),
        };
        let gone = known.iter().filter(|address| !present.contains(*address));
        // Whatever version it had: it is not there any more.
        gone.map(|address| self.gone(subject, address, u128::MAX)).collect()
    }

    /// Secrets were read with their bytes: fills in the bodies of those that are still the same. One
    /// that is not known was deleted meanwhile, or will be told of by its watch.
    pub fn read(&mut self, secrets: Vec<(ObjectRef, Secret)>) -> Vec<News> {
        let mut news = Vec::new();
        for ((namespace, name), mut secret) in secrets {
            share(&mut self.docker_configs, &mut secret);
            let known = self.known_home(&namespace).and_then(|home| home.secrets.get_mut(&name));
            if let Some(known) = known.filter(|it| age(&it.resource_version) <= age(&secret.resource_version))
            {
                *known = secret;
                news.push(News::of(&namespace, Vec::new()));
            }
        }
        news
    }

    /// Work in a namespace came to its end, and left this behind. What was seen later goes before it.
    pub fn wrote(&mut self, namespace: &str, applied: &mut Applied) {
        self.busy.remove(namespace);
        let graves = self.graves.remove(namespace).unwrap_or_default();
        let Some(home) = self.cluster.namespaces.get_mut(namespace) else { return };
        for (name, mut left) in std::mem::take(&mut applied.secrets) {
            if let Some(secret) = &mut left.now {
                share(&mut self.docker_configs, secret);
            }
            let grave = graves.get(&name).copied();
            settle(&mut home.secrets, name, left, grave, |it| &it.resource_version);
        }
        for (name, left) in std::mem::take(&mut applied.service_accounts) {
            let grave = graves.get(&name).copied();
            settle(&mut home.service_accounts, name, left, grave, |it| &it.resource_version);
        }
    }

    /// Forgets the Secrets of a name that nobody uses any more, and copies that nobody holds.
    pub fn forget(&mut self, secret_name: &str) {
        for namespace in self.cluster.namespaces.values_mut().chain(self.strangers.values_mut()) {
            namespace.secrets.remove(secret_name);
        }
        self.cluster.unreadable.remove(secret_name);
        self.docker_configs.retain(|copy| Arc::strong_count(copy) > 1);
    }

    fn known_home(&mut self, namespace: &str) -> Option<&mut Namespace> {
        self.cluster.namespaces.get_mut(namespace).or_else(|| self.strangers.get_mut(namespace))
    }

    /// Nothing is kept of a namespace that is not there and in which nothing is.
    fn tidy(&mut self, namespace: &str) {
        let is_empty = |it: &Namespace| it.secrets.is_empty() && it.service_accounts.is_empty();
        if self.strangers.get(namespace).is_some_and(is_empty) {
            self.strangers.remove(namespace);
        }
    }

    fn home(&mut self, namespace: &str) -> &mut Namespace {
        let is_known = self.cluster.namespaces.contains_key(namespace);
        let home = if is_known { &mut self.cluster.namespaces } else { &mut self.strangers };
        home.entry(namespace.to_owned()).or_default()
    }
}

/// Takes over what was left of an object, unless something later is known of it.
fn settle<T>(
    home: &mut BTreeMap<String, T>,
    name: String,
    AfterWrite { before, now }: AfterWrite<T>,
    grave: Option<u128>,
    version: impl Fn(&T) -> &String,
) {
    let known = home.get(&name).map(|it| age(version(it)));
    match now {
        None if known.is_some_and(|known| known <= age(&before)) => drop(home.remove(&name)),
        None => {}
        Some(object) => {
            let written = age(version(&object));
            if known.is_none_or(|known| known <= written) && grave.is_none_or(|grave| grave < written) {
                home.insert(name, object);
            }
        }
    }
}

/// Lets a Secret of ours hold the copy of its bytes that others hold; drops the bytes of others.
fn share(copies: &mut Vec<DockerConfigBytes>, secret: &mut Secret) {
    let Some(body) = &mut secret.body else { return };
    if !secret.managed {
        body.docker_config = None;
    }
    let Some(held) = &mut body.docker_config else { return };
    let is_same =
        |copy: &&DockerConfigBytes| Arc::ptr_eq(copy, held) || copy.expose_secret() == held.expose_secret();
    // What is written at the moment was added last.
    match copies.iter().rev().find(is_same) {
        Some(copy) => *held = Arc::clone(copy),
        None => {
            copies.retain(|copy| Arc::strong_count(copy) > 1);
            copies.push(Arc::clone(held));
        }
    }
}

/// The entries that regcred added and that are not in the list any more.
fn undone_entries(name: &str, before: &ServiceAccount, after: &ServiceAccount) -> Vec<Thing> {
    let is_undone = |secret_name: &&String| {
        before.image_pull_secrets.contains(*secret_name) && !after.image_pull_secrets.contains(*secret_name)
    };
    let entry = |secret_name: &String| Thing::Entry {
        service_account: name.to_owned(),
        secret_name: secret_name.clone(),
    };
    before.added.keys().filter(is_undone).map(entry).collect()
}

#[cfg(test)]
mod tests;
