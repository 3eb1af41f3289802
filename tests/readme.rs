//! The README says what is so.

use std::path::Path;

use world::readme;

/// What stands between the two marks of that name.
#[track_caller]
fn check(mark: &str, expect: &str) {
    let text = readme::text();
    let (_, rest) = text.split_once(&format!("<!-- {mark}: begin -->\n")).expect("a begin");
    let (written, _) = rest.split_once(&format!("<!-- {mark}: end -->")).expect("an end");
    assert!(written == expect, "put this between the two marks {mark} of README.md:\n{expect}");
}

#[test]
fn the_manifest_reference_is_that_of_the_types() {
    check("reference", &regcred::manifest::reference());
}

#[test]
fn the_status_and_its_reasons_are_those_of_the_types() {
    check("status", &regcred::manifest::reference::status());
    check("reasons", &regcred::manifest::status::reason::reasons());
}

#[test]
fn the_metrics_are_those_of_the_registry() {
    check("metrics", &regcred::metrics::reference());
}

#[test]
fn the_manifests_of_the_readme_and_of_deploy_hold_no_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let images = directory.path().join("images.yaml");
    std::fs::write(&images, readme::yaml(&readme::text())[0]).expect("a file");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for (file, stores) in
        [(images, 2), (deploy.join("first.yaml"), 1), (deploy.join("compose/manifests.yaml"), 2)]
    {
        let manifests = regcred::manifest::read(std::slice::from_ref(&file), Path::new("/run"));
        let manifests = manifests.unwrap_or_else(|mistakes| panic!("{}:\n{mistakes}", file.display()));
        assert_eq!(
            (manifests.stores.len(), manifests.cluster_pull_secrets.len()),
            (stores, 1),
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_triggers_of_the_readme_hold_no_mistake() {
    let section = readme::section("## Rotation events");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, readme::yaml(&section)[0]).expect("a file");
    let manifests = regcred::manifest::read(&[file], directory.path());
    let triggers = manifests.unwrap_or_else(|mistakes| panic!("{mistakes}")).triggers;
    assert_eq!((triggers.sqs.len(), triggers.webhook.is_some()), (1, true));
}
