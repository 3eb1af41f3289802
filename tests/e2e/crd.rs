//! The CRD and the validation of files agree: the API server rejects the same ClusterPullSecrets.
//!
//! Nothing is created: every object is sent as a dry run with strict field validation, as kubectl sends it.

mod cases;
mod random;

use std::path::Path;

use harness::install_crd;
use regcred::manifest::field::FieldErrors;
use regcred::manifest::{Manifests, read};
use world::{Kube, World};

use cases::Case;

async fn kube() -> &'static Kube {
    let kube = &World::shared().await.kube;
    install_crd(kube).await.expect("deploy/crd.yaml applies");
    kube
}

/// Validates a text as a file.
fn check(text: &str) -> Result<Manifests, FieldErrors> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("images.yaml");
    std::fs::write(&file, text).expect("a writable directory");
    read(&[file], Path::new("/run/registry-credentials"))
}

/// Sends ClusterPullSecrets to the API server; the error names all that it rejects.
async fn create(kube: &Kube, documents: &str) -> anyhow::Result<String> {
    kube.kubectl_stdin(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], documents).await
}

#[tokio::test]
async fn crd_in_the_cluster_equals_the_generated_definition() {
    let kube = kube().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";
    let served = kube.get(path).await.expect("the CRD");
    let written = regcred::manifest::crd::definition();
    assert_eq!(served["spec"]["versions"], written["spec"]["versions"], "YAML changed none of its rules");
    assert_eq!(served["spec"]["names"]["shortNames"], written["spec"]["names"]["shortNames"]);
}

#[tokio::test]
async fn documents_that_pass_validation_are_accepted() {
    let documents: Vec<String> = cases::good().iter().map(Case::document).collect();
    for document in &documents {
        check(document).unwrap_or_else(|mistakes| panic!("{mistakes}\n{document}"));
    }
    let created = create(kube().await, &documents.join("---\n")).await.expect("all of them are accepted");
    assert_eq!(created.lines().count(), documents.len(), "{created}");
}

#[tokio::test]
async fn documents_that_fail_validation_are_rejected_alike() {
    let kube = kube().await;
    let cases = cases::bad();
    let documents: Vec<String> = cases.iter().map(Case::document).collect();
    let answer =
        create(kube, &documents.join("---\n")).await.expect_err("all of them are rejected").to_string();
    for (case, document) in cases.iter().zip(&documents) {
        let mistakes = check(document).expect_err("there is a mistake").to_string();
        assert!(mistakes.contains(&case.expect), "{mistakes}\n{document}");
        // An unknown field is rejected before the object has a name.
        let rejection = match answer.split_once(&format!("\"{}\" is invalid", case.name)) {
            Some((_, rest)) => rest.split("\" is invalid").next().unwrap_or_default().to_owned(),
            None => create(kube, document).await.expect_err("it takes this one").to_string(),
        };
        // Kubernetes 1.30 words the limit of a text differently from 1.37.
        let rejection = rejection.replace("may not be longer than", "may not be more than");
        let expect = case.expect_of_api_server();
        assert!(rejection.contains(expect), "{expect:?} is not in the answer to\n{document}\n{rejection}");
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
