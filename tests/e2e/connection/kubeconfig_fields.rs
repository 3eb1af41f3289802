//! The fields of a kubeconfig, one by one.

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{NAMESPACE, SERVICE_ACCOUNT};
use serde_json::{Value, json};

use super::{Connections, changed, same};

const EXEC: &str = "client.authentication.k8s.io/v1";

/// Checks that both programs accept a kubeconfig, or both refuse it.
async fn check(connections: &Connections, what: &str, kubeconfig: &Value, is_accepted: bool) {
    let file = connections.write("kubeconfig", &kubeconfig.to_string());
    check_files(connections, what, &file, is_accepted).await;
}

async fn check_files(connections: &Connections, what: &str, files: &str, is_accepted: bool) {
    let kubectl = connections.kubectl(files, &[]).await;
    assert_eq!(kubectl.code == 0, is_accepted, "{what}: {kubectl:?}");
    let regcred = connections.regcred(files, &[]).await;
    assert_eq!(regcred.code == 0, is_accepted, "{what}: {regcred:?}");
}

fn token(kubeconfig: &Value) -> String {
    kubeconfig["users"][0]["user"]["token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn cluster_fields_mean_what_they_mean_to_kubectl() {
    let connections = Connections::new("cluster-fields").await;
    let authority = connections.cluster.kube.ca_pem().expect("a certificate");
    connections.write("ca.crt", &authority);
    let data = STANDARD.encode(&authority);
    let (first, second) = data.split_at(76);
    let url = &connections.cluster.kube.url;
    for (what, cluster, is_accepted) in [
        ("a relative certificate-authority", json!({"certificate-authority": "ca.crt"}), true),
        ("a missing certificate-authority", json!({"certificate-authority": "missing"}), false),
        ("no certificate-authority", json!({"certificate-authority": null}), false),
        ("data", json!({"certificate-authority": null, "certificate-authority-data": data}), true),
        (
            "data with line breaks",
            json!({"certificate-authority": "", "certificate-authority-data": format!("{first}\n{second}\r\n")}),
            true,
        ),
        (
            "data of no certificate",
            json!({"certificate-authority": null, "certificate-authority-data": "Zm9v"}),
            false,
        ),
        ("insecure", json!({"certificate-authority": null, "insecure-skip-tls-verify": true}), true),
        ("insecure with an authority", json!({"insecure-skip-tls-verify": true}), false),
        ("tls-server-name", json!({"tls-server-name": "kubernetes.default.svc"}), true),
        ("another tls-server-name", json!({"tls-server-name": "other.example.com"}), false),
        ("an empty tls-server-name", json!({"tls-server-name": ""}), true),
        ("disable-compression", json!({"disable-compression": true}), true),
        ("extensions", json!({"extensions": [{"name": "e", "extension": {"a": ""}}], "unknown": 1}), true),
        ("a server with a slash", json!({"server": format!("{url}/")}), true),
        ("no server", json!({"server": null}), false),
    ] {
        check(&connections, what, &changed(connections.kubeconfig(), cluster, same()), is_accepted).await;
    }
}

#[tokio::test]
async fn user_fields_mean_what_they_mean_to_kubectl() {
    let connections = Connections::new("user-fields").await;
    let kubeconfig = connections.kubeconfig();
    let token = token(&kubeconfig);
    connections.write("token", &format!("{token}\n"));
    connections.write("other-token", "other");
    let exec = json!({"apiVersion": EXEC, "command": "/nonexist", "interactiveMode": "Never"});
    let oidc = json!({"name": "oidc", "config": {"id-token": token, "client-id": "c", "idp-issuer-url": "https://i"}});
    for (what, user, is_accepted) in [
        ("a relative tokenFile with a line break", json!({"token": null, "tokenFile": "token"}), true),
        ("tokenFile before token", json!({"token": "other", "tokenFile": "token"}), true),
        ("another tokenFile before token", json!({"tokenFile": "other-token"}), false),
        ("token while tokenFile is missing", json!({"tokenFile": "missing"}), true),
        ("a missing tokenFile", json!({"token": null, "tokenFile": "missing"}), false),
        (
            "empty values",
            json!({"tokenFile": "", "username": "", "password": "", "as": "", "client-key": ""}),
            true,
        ),
        ("token and username", json!({"username": "u"}), false),
        ("username and password", json!({"token": null, "username": "u", "password": "p"}), false),
        ("a certificate without a key", json!({"client-certificate-data": "Zm9v"}), false),
        ("token before exec", json!({"exec": exec}), true),
        ("a missing plugin", json!({"token": null, "exec": exec}), false),
        ("auth-provider oidc", json!({"token": null, "auth-provider": oidc}), true),
        (
            "auth-provider azure",
            json!({"token": null, "auth-provider": {"name": "azure", "config": null}}),
            false,
        ),
        ("as-groups without as", json!({"as-groups": ["g"]}), false),
    ] {
        check(&connections, what, &changed(kubeconfig.clone(), same(), user), is_accepted).await;
    }
    let account = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
    for (what, user, is_accepted) in [
        ("as an account", json!({"as": account}), true),
        ("as nobody", json!({"as": "nobody"}), false),
        ("as-groups", json!({"as": "nobody", "as-groups": ["a", "system:masters"]}), true),
        (
            "as-uid and as-user-extra",
            json!({"as": account, "as-uid": "1", "as-user-extra": {"example.com/a b": ["c", "d"]}}),
            true,
        ),
    ] {
        check(&connections, what, &changed(connections.admin(), same(), user), is_accepted).await;
    }
}

#[tokio::test]
async fn files_are_merged_as_by_kubectl() {
    let connections = Connections::new("kubeconfig-files").await;
    let complete = connections.kubeconfig();
    let mut without_context = complete.clone();
    without_context["current-context"] = json!("");
    let mut other_user = complete.clone();
    other_user["users"][0]["user"]["token"] = json!("other");
    let name = complete["current-context"].as_str().expect("a context");
    for (file, text) in [
        ("complete", complete.to_string()),
        ("without-context", without_context.to_string()),
        ("other-user", other_user.to_string()),
        ("context-alone", format!("current-context: {name}\ncurrent-context: {name}\n")),
        ("empty", String::new()),
        ("broken", "[".to_owned()),
    ] {
        connections.write(file, &text);
    }
    for (files, is_accepted) in [
        ("complete", true),
        (":missing::empty:complete:", true),
        ("without-context", false),
        ("without-context:context-alone", true),
        ("complete:other-user", true),
        ("other-user:complete", false),
        ("complete:broken", false),
        ("complete/file:complete", false),
        ("empty", false),
        ("missing", false),
    ] {
        check_files(&connections, files, files, is_accepted).await;
    }
}

#[tokio::test]
async fn credential_plugin_runs_once_with_what_kubectl_passes() {
    let connections = Connections::new("plugin").await;
    let kubeconfig = connections.kubeconfig();
    let script = "#!/bin/sh\n\
         echo the login is about to expire >&2\n\
         echo $KUBERNETES_EXEC_INFO $1 $ONE-$TWO >> calls\n\
         printf '{\"apiVersion\":\"%s\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"%s\"}}' \"$VERSION\" \"$TOKEN\"\n";
    let path = connections.write("plugin", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let variables = json!([
        {"name": "TOKEN", "value": token(&kubeconfig)}, {"name": "VERSION", "value": EXEC},
        {"name": "ONE", "value": ""}, {"name": "TWO", "value": "2"},
    ]);
    let exec = json!({"apiVersion": EXEC, "command": "./plugin", "args": ["first"], "env": variables,
        "interactiveMode": "IfAvailable", "provideClusterInfo": true});
    let extension = json!([{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]);
    let kubeconfig =
        changed(kubeconfig, json!({"extensions": extension}), json!({"token": null, "exec": exec}));
    let file = connections.write("kubeconfig", &kubeconfig.to_string());
    let calls = connections.cluster.directory.path().join("calls");
    let mut seen = Vec::new();
    for program in ["kubectl", "regcred"] {
        let run = match program {
            "kubectl" => connections.kubectl(&file, &[("ONE", "inherited")]).await,
            _ => connections.regcred(&file, &[("ONE", "inherited")]).await,
        };
        assert_eq!(run.code, 0, "{program}: {run:?}");
        assert!(run.stderr.contains("the login is about to expire"), "{program}: {run:?}");
        let text = std::fs::read_to_string(&calls).expect("the plugin ran");
        std::fs::remove_file(&calls).expect("removed");
        assert_eq!(text.lines().count(), 1, "{program} runs the plugin once: {text}");
        let (info, rest) = text.trim().split_once("} ").expect("JSON and the rest");
        let info: Value = serde_json::from_str(&format!("{info}}}")).expect("JSON");
        seen.push((info, rest.to_owned()));
    }
    assert_eq!(seen[0], seen[1], "kubectl and regcred");
    assert_eq!(seen[1].1, "first -2");
    assert_eq!(seen[1].0["spec"]["cluster"]["config"], json!({"audience": "a"}));
}

#[tokio::test]
async fn missing_credential_plugin_is_named_with_its_hint() {
    let connections = Connections::new("no-plugin").await;
    let exec = json!({"apiVersion": EXEC, "command": "cloud-login", "interactiveMode": "Never",
        "installHint": "cloud-login is needed:\n  brew install cloud-login\n"});
    let kubeconfig = changed(connections.kubeconfig(), same(), json!({"token": null, "exec": exec}));
    let file = connections.write("kubeconfig", &kubeconfig.to_string());
    let run = connections.regcred(&file, &[]).await;
    assert_eq!(
        (run.code, &*run.stderr),
        (
            1,
            "error: cannot use the kubeconfig: the credential plugin cloud-login is not installed\n\
             hint: cloud-login is needed: brew install cloud-login\n"
        )
    );
    let kubectl = connections.kubectl(&file, &[]).await;
    assert!(kubectl.stderr.contains("brew install cloud-login"), "{kubectl:?}");
}
