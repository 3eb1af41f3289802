//! The API server refuses what the checks of files refuse, and takes what they let pass.
//!
//! Nothing is created: every object is sent with a dry run, and with strict field validation, as kubectl
//! sends it.

mod cases;
mod random;

use std::path::Path;

use regcred::manifest::field::FieldErrors;
use regcred::manifest::{Manifests, read};
use world::{Kube, World};

use crate::scene::install_crd;
use cases::Case;

async fn kube() -> &'static Kube {
    let kube = &World::shared().await.kube;
    install_crd(kube).await;
    kube
}

/// What the checks say of a text.
fn check(text: &str) -> Result<Manifests, FieldErrors> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("images.yaml");
    std::fs::write(&file, text).expect("a writable directory");
    read(&[file], Path::new("/run/registry-credentials"))
}

/// What the API server says of ClusterPullSecrets; an error tells of all that it refuses.
async fn create(kube: &Kube, documents: &str) -> anyhow::Result<String> {
    kube.kubectl_stdin(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], documents).await
}

#[tokio::test]
async fn the_crd_is_what_it_was_written_to_be() {
    let kube = kube().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";
    let served = kube.get(path).await.expect("the CRD");
    let written = regcred::manifest::crd::definition();
    assert_eq!(served["spec"]["versions"], written["spec"]["versions"], "YAML changed none of its rules");
    assert_eq!(served["spec"]["names"]["shortNames"], written["spec"]["names"]["shortNames"]);
}

#[tokio::test]
async fn what_the_checks_let_pass_the_api_server_takes() {
    let documents: Vec<String> = cases::good().iter().map(Case::document).collect();
    for document in &documents {
        check(document).unwrap_or_else(|mistakes| panic!("{mistakes}\n{document}"));
    }
    let created = create(kube().await, &documents.join("---\n")).await.expect("it takes all of them");
    assert_eq!(created.lines().count(), documents.len(), "{created}");
}

#[tokio::test]
async fn what_the_checks_refuse_the_api_server_refuses_with_the_same_mend() {
    let kube = kube().await;
    let cases = cases::bad();
    let documents: Vec<String> = cases.iter().map(Case::document).collect();
    let answer = create(kube, &documents.join("---\n")).await.expect_err("it takes none of them").to_string();
    for (case, document) in cases.iter().zip(&documents) {
        let mistakes = check(document).expect_err("there is a mistake").to_string();
        assert!(mistakes.contains(&case.mend), "{mistakes}\n{document}");
        // A field that nobody knows is refused before the object has a name.
        let refusal = match answer.split_once(&format!("\"{}\" is invalid", case.name)) {
            Some((_, rest)) => rest.split("\" is invalid").next().unwrap_or_default().to_owned(),
            None => create(kube, document).await.expect_err("it takes this one").to_string(),
        };
        let mend = case.mend_of_api_server();
        assert!(refusal.contains(mend), "{mend:?} is not in the answer to\n{document}\n{refusal}");
    }
}

#[tokio::test]
async fn examples_sent_to_the_api_server_are_accepted() {
    let mut documents = Vec::new();
    for file in std::fs::read_dir(world::docs::path("examples")).expect("a directory") {
        let path = file.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        check(&text).unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
        let objects = text.split("\n---\n").filter(|it| it.contains("\nkind: ClusterPullSecret\n"));
        documents.extend(objects.map(ToOwned::to_owned));
    }
    let created = create(kube().await, &documents.join("\n---\n")).await.expect("all are accepted");
    assert_eq!(created.lines().count(), documents.len(), "{created}");
    assert!(documents.len() >= 8, "{}", documents.len());
}
