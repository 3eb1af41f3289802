//! Values, overlays and parameters in the documentation work with the chart, the base and `deploy/aws`.

use std::path::{Component, Path, PathBuf};

use regcred::manifest::Manifests;
use serde_json::{Value, json};
use world::docs;

use crate::rendering::{Objects, chart, deploy, objects, pod, read};

const INSTALL: &str = "docs/operations/install.md";

/// The Config that the chart mounts: its text, and the manifests in it.
#[track_caller]
fn config(objects: &Objects) -> (&str, Manifests) {
    let config = objects["ConfigMap regcred-config"]["data"]["config.yaml"].as_str().expect("a Config");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, config).expect("a file");
    let manifests = regcred::manifest::read(&[file], directory.path());
    (config, manifests.unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

/// The chart rendered with these values.
async fn chart_of(values: &str) -> Objects {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("values.yaml");
    std::fs::write(&file, values).expect("a file");
    objects(&chart(&["-f", &file.display().to_string()]).await)
}

/// The audience of the token that is mounted for Vault.
fn audience(spec: &Value) -> &Value {
    let mut volumes = spec["volumes"].as_array().into_iter().flatten();
    let token = volumes.find(|it| it["name"] == "vault-token").expect("a token");
    &token["projected"]["sources"][0]["serviceAccountToken"]["audience"]
}

#[tokio::test]
async fn documented_overlay_brings_image_config_and_secret_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path().canonicalize().expect("a real path");
    // kustomize takes a base by a relative path only.
    let up: PathBuf = at.components().filter(|it| matches!(it, Component::Normal(_))).map(|_| "..").collect();
    let base = deploy("base").canonicalize().expect("a real path");
    let base = up.join(base.strip_prefix(Path::new("/")).expect("an absolute path")).display().to_string();
    let section = docs::section(INSTALL, "## Kustomize");
    let blocks = docs::blocks(&section, "yaml");
    let overlay = blocks[0].replace("resources: [deploy/base]", &format!("resources: [{base}]"));
    std::fs::write(at.join("kustomization.yaml"), overlay).expect("a file");
    std::fs::write(at.join("config.yaml"), blocks[1]).expect("a file");

    let objects = objects(&world::kustomize(&at).await.expect("kustomize builds the overlay"));
    let spec = &pod(&objects)["spec"];
    let image = format!("registry.example.com/regcred:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(spec["containers"][0]["image"], image);
    let mounted = spec["volumes"][0]["configMap"]["name"].as_str().expect("a ConfigMap is mounted");
    assert_eq!(objects[&format!("ConfigMap {mounted}")]["data"]["config.yaml"], blocks[1]);
    let manifests = regcred::manifest::read(&[at.join("config.yaml")], &at);
    let stores = manifests.unwrap_or_else(|errors| panic!("{errors}")).stores;
    assert_eq!(stores.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["vault"]);
    let token = json!({"mountPath": "/run/vault", "name": "vault-token", "readOnly": true});
    assert!(spec["containers"][0]["volumeMounts"].as_array().is_some_and(|it| it.contains(&token)), "{spec}");
    assert_eq!(*audience(spec), "vault");
    let names = &objects["ClusterRole regcred"]["rules"][2]["resourceNames"];
    assert_eq!(*names, json!(["regcred", "team-a-images"]));
    for policy in ["regcred", "regcred-serviceaccounts"] {
        let variable = &objects[&format!("ValidatingAdmissionPolicy {policy}")]["spec"]["variables"][0];
        let expected = json!({"name": "secretNames", "expression": r#"["regcred", "team-a-images"]"#});
        assert_eq!(*variable, expected, "{policy}");
    }
}

#[tokio::test]
async fn documented_patch_restricts_the_user_of_a_ci_job() {
    let directory = tempfile::tempdir().expect("a directory");
    let section = docs::section("docs/getting-started.md", "### A login by a credential plugin");
    let overlay = docs::blocks(&section, "yaml")[1];
    std::fs::write(directory.path().join("kustomization.yaml"), overlay).expect("a file");
    std::fs::create_dir(directory.path().join("deploy")).expect("a directory");
    std::fs::copy(deploy("rbac.yaml"), directory.path().join("deploy/rbac.yaml")).expect("a copy");
    let objects = objects(&world::kustomize(directory.path()).await.expect("kustomize builds the overlay"));
    let policies: Vec<_> =
        objects.iter().filter(|(name, _)| name.starts_with("ValidatingAdmissionPolicy ")).collect();
    assert!(policies.len() >= 2, "{}", policies.len());
    for (name, policy) in policies {
        let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().expect("a condition");
        assert!(condition.contains("regcred-system:regcred\", \"ci-robot\"]"), "{name}: {condition}");
    }
}

#[tokio::test]
async fn documented_values_of_a_proxy_open_its_port() {
    let section = docs::section("docs/reference/kubeconfig.md", "## Proxies");
    let objects = chart_of(docs::blocks(&section, "yaml")[0]).await;
    let ports =
        objects["NetworkPolicy regcred"]["spec"]["egress"][0]["ports"].as_array().expect("ports").clone();
    assert!(ports.contains(&json!({"protocol": "TCP", "port": 3128})), "{ports:?}");
    let variables = pod(&objects)["spec"]["containers"][0]["env"].as_array().expect("variables").clone();
    let list = variables.iter().find(|it| it["name"] == "NO_PROXY").expect("NO_PROXY");
    assert!(list["value"].as_str().is_some_and(|it| it.contains("vault.vault")), "{list}");
}

#[tokio::test]
async fn documented_values_bring_a_valid_config_and_its_files() {
    let objects = chart_of(docs::blocks(&docs::section(INSTALL, "## Stores"), "yaml")[0]).await;
    let (config, manifests) = config(&objects);
    let stores: Vec<&str> = manifests.stores.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(stores, ["vault", "vault-emea", "aws", "ecr"]);

    let mounts = pod(&objects)["spec"]["containers"][0]["volumeMounts"].as_array().expect("mounts").clone();
    let paths: Vec<_> = mounts.iter().filter_map(|it| it["mountPath"].as_str()).collect();
    for file in ["role-id", "token", "ca.crt"] {
        assert!(paths.iter().any(|path| config.contains(&format!("{path}/{file}"))), "{file}: {paths:?}");
    }
    let role: Value = serde_json::from_str(&read("vault/role.json")).expect("JSON");
    assert_eq!(
        *audience(&pod(&objects)["spec"]),
        role["audience"],
        "Vault takes the token that is mounted for it"
    );
}

#[tokio::test]
async fn documented_webhook_values_mount_the_files_they_name() {
    let page = docs::page("docs/guides/webhook.md");
    let objects = chart_of(docs::blocks(&page, "yaml")[0]).await;
    let webhook = config(&objects).1.triggers.webhook.expect("a webhook");
    let tls = webhook.tls.expect("a certificate");
    // The keys that kubectl gives the Secret, and those of every TLS Secret.
    assert!(page.contains(" regcred-webhook -n regcred-system --from-file=tokens --from-file=keys\n"));
    let spec = &pod(&objects)["spec"];
    for (secret, files) in [
        (
            "regcred-webhook",
            [(webhook.token_file.as_ref(), "tokens"), (webhook.hmac_key_file.as_ref(), "keys")],
        ),
        ("regcred-webhook-tls", [(Some(&tls.certificate_file), "tls.crt"), (Some(&tls.key_file), "tls.key")]),
    ] {
        let is_it = |volume: &&Value| volume["secret"]["secretName"] == secret;
        let volume = spec["volumes"].as_array().into_iter().flatten().find(is_it).expect("a volume");
        let mounts = spec["containers"][0]["volumeMounts"].as_array();
        let mount = mounts.into_iter().flatten().find(|it| it["name"] == volume["name"]).expect("a mount");
        let path = Path::new(mount["mountPath"].as_str().expect("a path"));
        for (file, key) in files {
            assert_eq!(file, Some(&path.join(key)), "{secret}");
        }
    }
}

#[test]
fn documented_teams_are_those_of_the_sample_policy() {
    let section = docs::section("docs/guides/multi-tenancy.md", "## Teams that create their own");
    let shown: Value = serde_saphyr::from_str(docs::blocks(&section, "yaml")[0]).expect("YAML");
    let policy =
        &crate::rendering::objects(&read("admission/team-keys.yaml"))["ValidatingAdmissionPolicy team-keys"];
    assert_eq!(policy["spec"]["variables"][0], shown["variables"][0]);
}

#[tokio::test]
async fn documented_aws_parameters_are_declared_by_both_templates() {
    let section = docs::section("docs/guides/aws.md", "## Events");
    let template = world::cloudformation(&deploy("aws/events.yaml")).await.expect("a template");
    let parameters = template["Parameters"].as_object().expect("parameters");
    let module = read("aws/terraform/variables.tf");
    let mut seen = 0;
    for word in section.split([' ', '`', '\n']) {
        let is_name = |name: &&str| name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
        let Some(name) = word.split_once('=').map(|(name, _)| name).filter(is_name) else { continue };
        let is_parameter = parameters.contains_key(name);
        assert!(is_parameter || module.contains(&format!("variable \"{name}\"")), "{word}");
        seen += 1;
    }
    assert_eq!(seen, 5, "SecretNamePrefix, the same for Terraform, Trust, OidcProvider, CloudTrailEvents");
}
