//! The text of the annotation [`ADDED`](crate::cluster::ADDED), which people may edit.
//!
//! Pure.

use crate::object_map::ObjectMap;
use crate::object_name::SecretName;

/// Parses the annotation.
pub(super) fn parse_added(names: &str) -> ObjectMap<SecretName, Option<String>> {
    let entries = names.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| match entry.split_once('=') {
        Some((name, cluster_pull_secret)) => (name.into(), Some(cluster_pull_secret.to_owned())),
        None => (entry.into(), None),
    });
    entries.collect()
}

/// Renders the annotation for these names.
pub(crate) fn render_added(added: &ObjectMap<SecretName, Option<String>>) -> String {
    let entries = added.iter().map(|(name, cluster_pull_secret)| match cluster_pull_secret {
        Some(cluster_pull_secret) => format!("{name}={cluster_pull_secret}"),
        None => name.to_string(),
    });
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edited_annotation_renders_in_order_without_blanks() {
        assert_eq!(render_added(&parse_added(" regcred=images,, b")), "b,regcred=images");
    }
}
