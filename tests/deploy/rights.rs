//! The table of rights in the security model has one row for each rule of the roles.

use std::collections::BTreeMap;

use serde_json::Value;
use world::docs;

use crate::rendering::{objects, read};

/// Verbs in backticks by the rest of the rule: resources, names and scope, as the table words them.
type Rights = BTreeMap<String, String>;

/// The rights in a file of `deploy/`.
fn rights(file: &str) -> Rights {
    let objects = objects(&read(file));
    let roles = objects.values().filter_map(|it| match it["kind"].as_str() {
        Some("ClusterRole") => Some((it, "")),
        Some("Role") => Some((it, " in regcred's namespace")),
        _ => None,
    });
    let mut rights = Rights::new();
    for (role, scope) in roles {
        for rule in role["rules"].as_array().expect("rules") {
            let right = format!("{}{}{scope}", list(&rule["resources"]), names(rule));
            let earlier = rights.insert(right.clone(), list(&rule["verbs"]));
            assert_eq!(earlier, None, "two rules in {file}: {right}");
        }
    }
    rights
}

fn list(words: &Value) -> String {
    let words = words.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The restriction to names: the list of pull secrets, a numbered range with what follows, or each name.
fn names(rule: &Value) -> String {
    let names = rule["resourceNames"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        // The default of `secretNames`.
        ["regcred"] if rule["resources"][0] == "secrets" => " with a name in `secretNames`".to_owned(),
        [first, .., last, other] => format!(" `{first}` to `{last}`, `{other}`"),
        more => format!(" `{}`", more.join("`, `")),
    }
}

/// The first two cells of each row of the table.
fn rows() -> Vec<(String, String)> {
    let section = docs::section("docs/security.md", "## Rights in the cluster");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    let cells =
        rows.map(|row| row.trim_matches('|').split('|').map(|it| it.trim().to_owned()).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let [right, rotate, reason, without, with] = cells.as_slice() else { panic!("{cells:?}") };
            assert!([reason, without, with].iter().all(|it| !it.is_empty()), "{right}: an empty cell");
            (right.clone(), rotate.clone())
        })
        .collect()
}

#[test]
fn table_of_rights_has_one_row_for_each_rule() {
    let (controller, rotate) = (rights("base/rbac.yaml"), rights("rbac.yaml"));
    let mut expected: Vec<_> = controller
        .iter()
        .map(|(right, verbs)| {
            (format!("{verbs} of {right}"), rotate.get(right).cloned().unwrap_or_else(|| "-".to_owned()))
        })
        .collect();
    let mut written = rows();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    assert!(rotate.keys().all(|right| controller.contains_key(right)), "{rotate:?}");
}
