//! The sample policy `deploy/admission/team-keys.yaml`: who may create ClusterPullSecrets, and with which keys.

use harness::{apply_file, install_crd, until};
use serde_json::{Value, json};
use world::{Kube, Reaper};

const NAME: &str = "begins with the name of your team";
const KEY: &str = "a store or a key that is not your team's";
const NAMESPACES: &str = "name the namespaces of your team";

/// The ClusterPullSecret of a team.
fn object(name: &str, store: &str, key: &str, namespaces: Value) -> Value {
    json!({
        "apiVersion": "regcred.dev/v1alpha1",
        "kind": "ClusterPullSecret",
        "metadata": {"name": name},
        "spec": {"registries": [{"host": "ghcr.io", "from": {"store": store, "key": key}}], "namespaces": namespaces},
    })
}

/// The answer to a creation by a member of a group; empty if it is accepted.
async fn create_as(kube: &Kube, group: &str, object: &Value) -> String {
    let arguments = ["create", "--dry-run=server", "-f", "-", "--as=jane", "--as-group", group];
    let created = kube.kubectl_stdin(&arguments, &object.to_string()).await;
    created.err().map(|error| format!("{error:#}")).unwrap_or_default()
}

#[tokio::test]
async fn team_creates_objects_with_its_own_keys_only() {
    let reaper = Reaper::new().expect("a reaper");
    let kube = Kube::start_bare(&reaper).await.expect("an API server");
    install_crd(&kube).await.expect("the CRD");
    apply_file(&kube, "admission/team-keys.yaml").await.expect("the sample applies");
    let own = object("web-images", "vault", "teams/web/ghcr", json!({"include": ["web-*", "web-{a,b}"]}));
    until("the policy and the rights bind", async || {
        let other = create_as(&kube, "team-data", &own).await;
        other.contains(NAME) && create_as(&kube, "team-web", &own).await.is_empty()
    })
    .await;

    let mine = || json!({"include": ["web-*"]});
    for (object, message) in [
        (object("images", "vault", "teams/web/ghcr", mine()), NAME),
        (object("web-images", "vault", "teams/data/ghcr", mine()), KEY),
        (object("web-images", "aws", "teams/web/ghcr", mine()), KEY),
        (object("web-images", "vault", "prod/database", mine()), KEY),
        (object("web-images", "vault", "teams/{{namespace}}/ghcr", mine()), KEY),
        (object("web-images", "vault", "teams/web/ghcr", json!({})), NAMESPACES),
        (object("web-images", "vault", "teams/web/ghcr", json!({"include": []})), NAMESPACES),
        (object("web-images", "vault", "teams/web/ghcr", json!({"include": ["web-a", "*"]})), NAMESPACES),
        (object("web-images", "vault", "teams/web/ghcr", json!({"selector": {}})), NAMESPACES),
    ] {
        let refused = create_as(&kube, "team-web", &object).await;
        assert!(refused.contains(message) && refused.contains("'team-keys'"), "{object}: {refused}");
    }
    let own_keys = object("web-images", "vault", "teams/web/{{namespace}}/ghcr", mine());
    assert_eq!(create_as(&kube, "team-web", &own_keys).await, "");
    let everything = object("images", "aws", "prod/dockerhub", json!({}));
    assert_eq!(create_as(&kube, "platform", &everything).await, "");
    let stranger = create_as(&kube, "developers", &own).await;
    assert!(stranger.contains("cannot create resource"), "{stranger}");

    // What exists is changed and deleted under the same rules.
    let path = "/apis/regcred.dev/v1alpha1/clusterpullsecrets";
    kube.post(path, &own).await.expect("a ClusterPullSecret");
    let stolen = r#"{"spec":{"registries":[{"host":"ghcr.io","from":{"store":"vault","key":"prod/x"}}]}}"#;
    for (group, command, message) in [
        (
            "team-web",
            ["patch", "clusterpullsecret", "web-images", "--type=merge", "-p", stolen].as_slice(),
            KEY,
        ),
        ("team-data", &["delete", "clusterpullsecret", "web-images"], NAME),
    ] {
        let impersonated = [command, &["--dry-run=server", "--as=jane", "--as-group", group]].concat();
        let refused = kube.kubectl(&impersonated).await.expect_err("it is not theirs").to_string();
        assert!(refused.contains(message), "{refused}");
    }
    let delete = ["delete", "clusterpullsecret", "web-images", "--as=jane", "--as-group=team-web"];
    kube.kubectl(&delete).await.expect("the team deletes its own");
}
