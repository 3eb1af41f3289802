//! The documentation agrees with the types, the binary, the chart and the examples.
//!
//! Blocks between `<!-- x: begin -->` and `<!-- x: end -->` are generated: `make reference` renews them.

mod values;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use world::docs;

/// Compares the generated block of a page with `expected`; writes the block with `REGCRED_RENEW=1`.
#[track_caller]
fn check(page: &str, mark: &str, expected: &str) {
    let [before, written, after] = docs::marked(page, mark);
    if std::env::var_os("REGCRED_RENEW").is_some() {
        std::fs::write(docs::path(page), before + expected + &after).expect("a writable checkout");
    } else {
        assert!(written == expected, "{page}: the block {mark} is stale: run `make reference`");
    }
}

/// The description and the table of one kind in the manifest reference, without its heading.
fn kind(name: &str) -> String {
    let reference = regcred::manifest::reference();
    let heading = format!("### {name}\n\n");
    let (_, rest) = reference.split_once(&heading).unwrap_or_else(|| panic!("no kind {name}"));
    rest.split("\n### ").next().unwrap_or_default().to_owned()
}

#[test]
fn manifest_reference_compared_with_the_types_is_current() {
    check("docs/reference/config.md", "config", &kind("Config"));
    check("docs/reference/clusterpullsecret.md", "clusterpullsecret", &kind("ClusterPullSecret"));
    assert_eq!(regcred::manifest::reference().matches("### ").count(), 2, "a page for each kind");
}

#[test]
fn status_reference_compared_with_the_types_is_current() {
    check("docs/reference/status.md", "status", &regcred::manifest::reference::status());
    check("docs/reference/status.md", "reasons", &regcred::manifest::status::reason::reasons());
}

#[test]
fn values_reference_compared_with_the_parser_is_current() {
    check("docs/reference/values.md", "values", &values::reference());
}

#[test]
fn metrics_reference_compared_with_the_registry_is_current() {
    check("docs/reference/metrics.md", "metrics", &regcred::metrics::reference());
}

#[test]
fn helm_values_reference_compared_with_the_chart_is_current() {
    let values = docs::page("deploy/chart/values.yaml");
    check("docs/reference/helm-values.md", "values", &format!("```yaml\n{values}```\n"));
}

#[test]
fn cli_reference_compared_with_the_help_is_current() {
    let mut reference = String::new();
    help(&[], &mut reference);
    check("docs/reference/cli.md", "cli", &reference);
}

/// Appends the help of a command, then that of its subcommands.
fn help(command: &[&str], reference: &mut String) {
    let output = Command::new(env!("CARGO_BIN_EXE_regcred")).args(command).arg("--help").env_clear().output();
    let help = String::from_utf8(output.expect("regcred runs").stdout).expect("regcred prints UTF-8");
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = [&["regcred"], command].concat().join(" ");
    // Writing to a String cannot fail.
    let _ = write!(reference, "## `{name}`\n\n```text\n{}\n```\n\n", lines.join("\n"));
    let listed = lines.iter().skip_while(|line| **line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        match line.split_whitespace().next() {
            // A line that is indented further goes on with the description above.
            Some(subcommand) if subcommand != "help" && !line.starts_with("   ") => {
                self::help(&[command, &[subcommand]].concat(), reference);
            }
            _ => {}
        }
    }
}

#[test]
fn every_condition_reason_is_in_the_troubleshooting_page() {
    let page = docs::page("docs/operations/troubleshooting.md");
    let reasons = regcred::manifest::status::reason::reasons();
    let mut seen = 0;
    for row in reasons.lines().skip(2).filter(|row| row.contains("| False |")) {
        let reason = row.split(" | ").nth(2).unwrap_or_default();
        assert!(page.lines().any(|line| line.starts_with(&format!("| {reason} "))), "{reason} is missing");
        seen += 1;
    }
    assert!(seen > 30, "{reasons}");
}

#[test]
fn every_name_on_objects_is_in_the_annotations_page() {
    let page = docs::page("docs/reference/annotations.md");
    let mut seen = 0;
    for file in docs::files("src", "rs") {
        let text = std::fs::read_to_string(&file).expect("source");
        for line in text.lines().filter(|line| line.contains("const ")) {
            let Some((_, rest)) = line.split_once("\"regcred.dev/") else { continue };
            let name = format!("regcred.dev/{}", rest.split('"').next().unwrap_or_default());
            assert!(name.contains("/v1") || page.contains(&format!("`{name}`")), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} names");
}

#[test]
fn complete_manifests_in_the_documentation_are_valid() {
    let mut seen = 0;
    for file in [docs::files("docs", "md"), vec![docs::path("README.md")]].concat() {
        let text = std::fs::read_to_string(&file).expect("a page");
        for block in
            docs::blocks(&text, "yaml").iter().filter(|it| it.starts_with("apiVersion: regcred.dev/"))
        {
            let read = regcred::manifest::parse(&file.display().to_string(), block, Path::new("/run"));
            assert!(read.is_ok(), "{}", read.err().map_or_else(String::new, |errors| errors.to_string()));
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} manifests");
}

#[test]
fn manifests_of_the_first_steps_bring_stores_and_objects() {
    let directory = tempfile::tempdir().expect("a directory");
    let images = directory.path().join("images.yaml");
    let section = docs::section("docs/getting-started.md", "## Credentials in Vault and AWS Secrets Manager");
    std::fs::write(&images, docs::blocks(&section, "yaml")[0]).expect("a file");
    let deploy = |file: &str| docs::path("deploy").join(file);
    for (file, stores) in [(images, 2), (deploy("first.yaml"), 1), (deploy("compose/manifests.yaml"), 2)] {
        let manifests = regcred::manifest::read(std::slice::from_ref(&file), Path::new("/run"));
        let manifests = manifests.unwrap_or_else(|errors| panic!("{}:\n{errors}", file.display()));
        let counts = (manifests.stores.len(), manifests.cluster_pull_secrets.len());
        assert_eq!(counts, (stores, 1), "{}", file.display());
    }
}

#[test]
fn triggers_of_the_concepts_page_bring_queue_and_webhook() {
    let section = docs::section("docs/concepts.md", "## Triggers");
    let manifests =
        regcred::manifest::parse("config.yaml", docs::blocks(&section, "yaml")[0], Path::new("/run"));
    let triggers = manifests.unwrap_or_else(|errors| panic!("{errors}")).triggers;
    assert_eq!((triggers.sqs.len(), triggers.webhook.is_some()), (1, true));
}

#[test]
fn examples_read_as_manifests_are_valid() {
    let examples = docs::files("examples", "yaml");
    assert!(examples.len() >= 8, "{examples:?}");
    for file in examples {
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.starts_with("# "), "{}: a comment says what it shows", file.display());
        let manifests = regcred::manifest::read(std::slice::from_ref(&file), Path::new("/run"));
        let manifests = manifests.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!manifests.cluster_pull_secrets.is_empty(), "{}", file.display());
    }
}

#[test]
fn samples_of_kubectl_get_have_the_columns_of_the_crd() {
    let definition = regcred::manifest::crd::definition();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().expect("columns");
    let names = columns.iter().filter_map(|it| it["name"].as_str()).map(str::to_uppercase);
    let expected: Vec<String> = std::iter::once("NAME".to_owned()).chain(names).collect();
    for page in ["README.md", "docs/operations/install.md", "docs/operations/monitoring.md"] {
        let text = docs::page(page);
        let header = text.lines().find(|line| line.starts_with("NAME ")).expect("a sample");
        assert_eq!(header.split_whitespace().collect::<Vec<_>>(), expected, "{page}");
    }
}

/// The rows of the table of the upgrade page, each with a test that proves it.
const UPGRADE_ROWS: &[(&str, &str)] = &[
    ("labels of a pull secret", "objects_of_the_baseline_are_taken_over_in_one_write"),
    ("annotation `regcred.dev/versions`", "objects_of_the_baseline_are_taken_over_in_one_write"),
    ("entries with `username`, `password` and `auth`", "earlier_form_is_rewritten_once_without_rotation"),
    (
        "Docker Hub under `https://index.docker.io/v1/`",
        "kubelet_finds_the_same_credential_and_hash_in_both_forms",
    ),
    ("owner reference of a pull secret", "secret_of_the_baseline_is_signed_in_one_write"),
    (
        "pull secret without a signature, in a selected namespace",
        "secret_of_the_baseline_is_signed_in_one_write",
    ),
    (
        "pull secret in a namespace that is no longer selected",
        "leftover_of_the_baseline_outside_the_selection_is_left_alone",
    ),
    ("copy with an owner reference", "copy_with_an_owner_reference_goes_with_its_object"),
    ("Secret that `deletion: Retain` left", "retained_secrets_of_the_baseline_go_to_a_successor"),
    (
        "annotation `regcred.dev/image-pull-secrets` with the ClusterPullSecret (`regcred=images`)",
        "objects_of_the_baseline_are_taken_over_in_one_write",
    ),
    ("the same annotation without it (`regcred`)", "annotation_without_a_cluster_pull_secret_is_completed"),
    (
        "pull secrets of a ClusterPullSecret with `suspend: true`",
        "successor_of_a_suspended_owner_keeps_its_secrets",
    ),
    ("finalizer `regcred.dev/cleanup`", "objects_of_the_baseline_are_taken_over_in_one_write"),
    ("deletion that is not finished", "deletion_begun_under_the_baseline_is_completed"),
    ("change of `secretName` that is not finished", "rename_begun_under_the_baseline_leaves_a_copy"),
    ("annotation `regcred.dev/request`", "request_that_the_baseline_forwarded_is_served"),
    ("status of a ClusterPullSecret", "objects_of_the_baseline_are_taken_over_in_one_write"),
    ("Lease `regcred`", "lease_of_a_killed_baseline_is_acquired_at_its_expiry"),
    ("Config with `http://` addresses", "http_of_another_machine_must_be_permitted"),
    (
        "Role, ClusterRole, policy `regcred`, Deployment, Service",
        "applied_manifests_of_both_versions_serve_without_refusals",
    ),
    ("chart value `networkPolicy.ingressFrom`", "unknown_or_invalid_value_is_rejected_with_its_path"),
];

#[test]
fn every_row_of_the_upgrade_table_has_a_test() {
    let section = docs::section("docs/operations/upgrade.md", "## Objects of earlier versions");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: Vec<&str> = rows.skip(2).collect();
    assert_eq!(rows, UPGRADE_ROWS.iter().map(|(row, _)| *row).collect::<Vec<_>>());
    let sources = [docs::files("src", "rs"), docs::files("tests", "rs")].concat();
    let sources: String = sources.iter().map(|file| std::fs::read_to_string(file).expect("source")).collect();
    for (row, test) in UPGRADE_ROWS {
        assert!(sources.contains(&format!("fn {test}() {{")), "{row}: there is no test {test}");
    }
}
