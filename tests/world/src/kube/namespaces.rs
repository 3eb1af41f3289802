//! Creates many namespaces at once, each with its `default` ServiceAccount.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Kube;
use crate::process::wait_until;

/// The namespaces that one time limit is for: ten thousand take longer than anything else does.
const AT_ONCE: usize = 1_000;

impl Kube {
    /// Creates namespaces with these labels and waits until each has its `default` ServiceAccount.
    pub async fn create_namespaces<N: Into<String>>(
        &self,
        names: impl IntoIterator<Item = N>,
        labels: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        for names in Vec::from_iter(names).chunks(AT_ONCE) {
            let objects: Vec<Value> =
                names.iter().map(|name| json!({ "metadata": { "name": name, "labels": labels } })).collect();
            self.create_all("/api/v1/namespaces", objects).await?;
            match self.controllers {
                None => self.create_default_service_accounts(names).await?,
                Some(_) => self.wait_for_default_service_accounts(names).await?,
            }
        }
        Ok(())
    }

    /// Replaces the ServiceAccount controller, which is not running.
    async fn create_default_service_accounts(&self, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
            self.post(&path, &json!({ "metadata": { "name": "default" } })).await?;
        }
        Ok(())
    }

    async fn wait_for_default_service_accounts(&self, names: &[String]) -> anyhow::Result<()> {
        // A single namespace is listed by name; for many, one list covers all.
        let path = match names.first() {
            None => return Ok(()),
            Some(only) if names.len() == 1 => format!("/api/v1/namespaces/{only}/serviceaccounts"),
            Some(_) => "/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault".to_owned(),
        };
        wait_until("a default ServiceAccount in every new namespace", || async {
            let list = self.get(&path).await?;
            let existing: BTreeSet<&str> = list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|account| account["metadata"]["name"] == "default")
                .filter_map(|account| account["metadata"]["namespace"].as_str())
                .collect();
            Ok(names.iter().all(|name| existing.contains(name.as_str())).then_some(()))
        })
        .await
    }
}
