//! The values of the chart: valid ones take effect, invalid ones are rejected.

use regcred::manifest::wire::{StoreSpec, TriggersSpec};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::rendering::{Objects, chart, deploy, objects, pod, read, refusal};

/// The paths of the schemas of a store and of the triggers in the schema of the values.
const STORE: &str = "/properties/config/properties/stores/items";
const TRIGGERS: &str = "/properties/config/properties/triggers";

#[tokio::test]
async fn unknown_or_invalid_value_is_rejected_with_its_path() {
    for (set, path, message) in [
        ("replica=3", "''", "additional properties 'replica' not allowed"),
        ("image.tga=1", "'/image'", "additional properties 'tga' not allowed"),
        ("metrics.serviceMonitor.on=true", "'/metrics/serviceMonitor'", "'on' not allowed"),
        ("config.pull=1", "'/config'", "additional properties 'pull' not allowed"),
        ("config.triggers.pollinterval=1s", "'/config/triggers'", "'pollinterval' not allowed"),
        ("config.triggers.sqs[0].region=x", "'/config/triggers/sqs/0'", "missing property 'queueUrl'"),
        (
            "config.stores[0].name=v,config.stores[0].vualt.address=x",
            "'/config/stores/0'",
            "'vualt' not allowed",
        ),
        ("replicas=two", "'/replicas'", "got string, want integer"),
        ("logFormat=xml", "'/logFormat'", "must be one of"),
        ("image.digest=latest", "'/image/digest'", "does not match pattern"),
        ("lastGoodShards=0", "'/lastGoodShards'", "minimum: got 0, want 1"),
        ("secretNames={Regcred}", "'/secretNames/0'", "does not match pattern"),
        ("networkPolicy.ingressFrom[0].podSelector=x", "'/networkPolicy'", "'ingressFrom' not allowed"),
    ] {
        let error = refusal(&["--set", set]).await;
        assert!(error.contains(&format!("at {path}")) && error.contains(message), "{set}: {error}");
    }
}

#[tokio::test]
async fn empty_secret_names_are_rejected() {
    let error = refusal(&["--set-json", "secretNames=[]"]).await;
    assert!(error.contains("at '/secretNames': minItems"), "{error}");
    // The template rejects them without the schema too.
    let error = refusal(&["--set-json", "secretNames=[]", "--skip-schema-validation"]).await;
    assert!(error.contains("every Secret there is"), "{error}");
}

#[tokio::test]
async fn secret_names_of_regcred_itself_are_rejected() {
    for name in ["regcred-last-good-3", "regcred-ownership-key"] {
        let error = refusal(&["--set", &format!("secretNames={{regcred,{name}}}")]).await;
        assert!(error.contains(&format!("secretNames must not contain {name}")), "{error}");
    }
}

/// Generates the schema of a part of a Config.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // The root of the schema already names its dialect.
    schema.as_object_mut().expect("a schema").remove("$schema");
    schema
}

#[test]
fn values_schema_matches_the_manifests() {
    let written: Value = serde_json::from_str(&read("chart/values.schema.json")).expect("JSON");
    let mut schema = written.clone();
    *schema.pointer_mut(STORE).expect("a schema of a store") = schema_of::<StoreSpec>();
    *schema.pointer_mut(TRIGGERS).expect("a schema of the triggers") = schema_of::<TriggersSpec>();
    if std::env::var_os("REGCRED_RENEW").is_some() {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        std::fs::write(deploy("chart/values.schema.json"), text).expect("a writable checkout");
    } else {
        assert!(
            written == schema,
            "chart/values.schema.json does not match the stores and triggers of the manifests: run `make base`"
        );
    }
}

fn webhook_ports(objects: &Objects) -> Vec<&Value> {
    let ports = objects["Service regcred"]["spec"]["ports"].as_array().expect("ports");
    ports.iter().filter(|it| it["name"] == "webhook").collect()
}

#[tokio::test]
async fn triggers_are_rendered_and_a_webhook_opens_its_port() {
    let without_webhook = objects(&chart(&["--set", "config.triggers.pollInterval=30s"]).await);
    assert_eq!(webhook_ports(&without_webhook), Vec::<&Value>::new());
    assert_eq!(without_webhook["NetworkPolicy regcred"]["spec"]["ingress"].as_array().map(Vec::len), Some(1));
    let config =
        without_webhook["ConfigMap regcred-config"]["data"]["config.yaml"].as_str().expect("a Config");
    assert!(config.contains("\ntriggers:\n  pollInterval: 30s\n"), "{config}");

    for (set, expected) in [("", 8081), (",config.triggers.webhook.listen=0.0.0.0:9000", 9000)] {
        let set = format!("config.triggers.webhook.tokenFile=/run/webhook/tokens{set}");
        let peers = r#"networkPolicy.webhookFrom=[{"podSelector":{}}]"#;
        let objects = objects(&chart(&["--set", &set, "--set-json", peers]).await);
        assert_eq!(webhook_ports(&objects)[0]["port"], expected);
        let ports = &pod(&objects)["spec"]["containers"][0]["ports"];
        assert_eq!(ports[2], json!({"name": "webhook", "containerPort": expected}));
        let ingress = &objects["NetworkPolicy regcred"]["spec"]["ingress"][1];
        assert_eq!(ingress["ports"], json!([{"protocol": "TCP", "port": expected}]));
        assert_eq!(ingress["from"], json!([{"podSelector": {}}]));
    }
}

/// Returns the ingress rules with these values.
async fn ingress(arguments: &[&str]) -> Value {
    objects(&chart(arguments).await)["NetworkPolicy regcred"]["spec"]["ingress"].clone()
}

#[tokio::test]
async fn network_policy_admits_named_peers_to_the_metrics_alone() {
    let ports = json!([{"protocol": "TCP", "port": 8080}]);
    let namespace =
        |name| json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]);
    assert_eq!(ingress(&[]).await, json!([{"ports": ports, "from": namespace("monitoring")}]));
    let other = format!("networkPolicy.metricsFrom={}", namespace("prometheus"));
    assert_eq!(
        ingress(&["--set-json", &other]).await,
        json!([{"ports": ports, "from": namespace("prometheus")}])
    );
    // A rule without peers would admit every pod.
    assert_eq!(ingress(&["--set-json", "networkPolicy.metricsFrom=[]"]).await, Value::Null);
    let error = refusal(&["--set-json", "networkPolicy.metricsFrom=[{}]"]).await;
    assert!(error.contains("at '/networkPolicy/metricsFrom/0': minProperties"), "{error}");
}

#[tokio::test]
async fn probes_have_a_port_that_no_service_or_policy_opens() {
    let webhook = "config.triggers.webhook.tokenFile=/run/webhook/tokens";
    let objects = objects(&chart(&["--set", webhook]).await);
    let container = &pod(&objects)["spec"]["containers"][0];
    assert_eq!(container["ports"][1], json!({"name": "probes", "containerPort": 8082}));
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "probes", "{probe}");
    }
    for opened in
        [&objects["Service regcred"]["spec"]["ports"], &objects["NetworkPolicy regcred"]["spec"]["ingress"]]
    {
        assert!(!opened.to_string().contains("8082") && !opened.to_string().contains("probes"), "{opened}");
    }
}

/// Returns the volumes of the webhook, and expects every volume to be mounted.
async fn webhook_volumes(sets: &[&str]) -> Vec<Value> {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let objects = objects(&chart(&sets).await);
    let spec = &pod(&objects)["spec"];
    let mounts = spec["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let volumes = spec["volumes"].as_array().expect("volumes");
    assert!(mounts.iter().map(|it| &it["name"]).eq(volumes.iter().map(|it| &it["name"])), "{spec}");
    volumes
        .iter()
        .filter(|it| it["name"].as_str().is_some_and(|name| name.starts_with("webhook")))
        .cloned()
        .collect()
}

#[tokio::test]
async fn webhook_files_are_mounted_only_with_a_webhook() {
    let webhook = "config.triggers.webhook.tokenFile=/run/webhook/tokens";
    let files = "config.triggers.webhook.tls.certificateFile=/run/webhook-tls/tls.crt,\
                 config.triggers.webhook.tls.keyFile=/run/webhook-tls/tls.key";
    let keys = json!({
        "name": "webhook",
        "secret": {"secretName": "regcred-webhook", "optional": true, "defaultMode": 0o440},
    });
    let tls = json!({"name": "webhook-tls", "secret": {"secretName": "ours", "defaultMode": 0o440}});
    assert_eq!(webhook_volumes(&["webhookTlsSecret=ours"]).await, Vec::<Value>::new());
    assert_eq!(webhook_volumes(&[webhook]).await, vec![keys.clone()]);
    assert_eq!(webhook_volumes(&[webhook, files, "webhookTlsSecret=ours"]).await, vec![keys, tls]);
    let elsewhere = "config.triggers.webhook.tokenFile=/vault/secrets/tokens";
    assert_eq!(webhook_volumes(&[elsewhere, "webhookSecret="]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn unusable_webhook_is_rejected_with_the_value_to_set() {
    const AT: &str = "config.triggers.webhook";
    let token = format!("{AT}.tokenFile=/run/webhook/tokens");
    let tls = format!("{AT}.tls.certificateFile=/run/webhook-tls/tls.crt,{AT}.tls.keyFile=/tls.key");
    let keys_mounted = "extraVolumeMounts[0].name=keys,extraVolumeMounts[0].mountPath";
    for (set, what) in [
        (
            "webhookSecret=".to_owned(),
            "webhook.tokenFile is in /run/webhook/, where nothing is mounted: set webhookSecret to",
        ),
        (
            format!("webhookSecret=,{keys_mounted}=/run/webhook-keys"),
            "webhook.tokenFile is in /run/webhook/, where nothing is mounted: set webhookSecret to",
        ),
        (
            tls,
            "webhook.tls.certificateFile is in /run/webhook-tls/, where nothing is mounted: set webhookTlsSecret to",
        ),
        (
            "webhookSecret=".to_owned(),
            "with the file, mount it with extraVolumeMounts, or name a file elsewhere if an injector provides it",
        ),
        (
            "webhookTlsSecret=ours".to_owned(),
            "webhookTlsSecret has no effect without config.triggers.webhook.tls",
        ),
        (format!("{AT}.tokenFile="), "webhook has neither tokenFile nor hmacKeyFile"),
        (format!("{AT}.listen=0.0.0.0:8080"), "webhook.listen must have another port than 8080 and 8082"),
        (format!("{AT}.listen=0.0.0.0:8082"), "webhook.listen must have another port than 8080 and 8082"),
    ] {
        let error = refusal(&["--set", &token, "--set", &set]).await;
        assert!(error.contains(what), "{set}: {error}");
    }
    let error = refusal(&["--set-json", &format!("{AT}={{}}")]).await;
    assert!(error.contains("webhook has neither tokenFile nor hmacKeyFile"), "{error}");
    for listen in ["", "0.0.0.0", ":8443", "localhost:8443", "::1:8443", "0.0.0.0:0", "0.0.0.0:65536"] {
        let error = refusal(&["--set", &token, "--set-string", &format!("{AT}.listen={listen}")]).await;
        assert!(error.contains("webhook.listen must be an address and a port"), "{listen}: {error}");
    }
    for listen in ["0.0.0.0:65535", "[::]:8443", "[::ffff:10.0.0.1]:1"] {
        chart(&["--set", &token, "--set-json", &format!("{AT}.listen={listen:?}")]).await;
    }
    // A mount from extraVolumeMounts is accepted.
    for at in ["/run/webhook", "/run/webhook/", "/run/webhook/tokens", "/run"] {
        chart(&["--set", &token, "--set", &format!("webhookSecret=,{keys_mounted}={at}")]).await;
    }
}

#[tokio::test]
async fn pod_values_are_rendered_into_the_pod() {
    let given = json!({
        "secretNames": ["regcred"],
        "credentialsSecret": "",
        "leaseDuration": "30s",
        "logFormat": "text",
        "extraArgs": ["-v"],
        "imagePullSecrets": [{"name": "mirror"}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/regcred"}},
        "env": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "envFrom": [{"secretRef": {"name": "vault-token"}}],
        "extraVolumes": [{"name": "app-role", "secret": {"secretName": "regcred-app-role"}}],
        "extraVolumeMounts": [{"name": "app-role", "mountPath": "/run/app-role", "readOnly": true}],
        "podAnnotations": {"team": "platform"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux", "pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
    });
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("values.json");
    std::fs::write(&file, given.to_string()).expect("a file");
    let objects = objects(&chart(&["-f", &file.display().to_string()]).await);
    let account = &objects["ServiceAccount regcred"]["metadata"]["annotations"];
    assert_eq!(*account, given["serviceAccount"]["annotations"]);
    let template = pod(&objects);
    assert_eq!(template["metadata"]["annotations"]["team"], "platform");
    let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
    for name in ["priorityClassName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets"] {
        assert_eq!(spec[name], given[name], "{name}");
    }
    for name in ["envFrom", "resources"] {
        assert_eq!(container[name], given[name], "{name}");
    }
    let flags = ["--log-format", "text", "--lease-duration", "30s", "--last-good-shards", "16", "-v"];
    assert_eq!(container["args"], json!([["run", "-f", "/etc/regcred"].as_slice(), &flags].concat()));
    assert_eq!(container["env"][2], given["env"][0]);
    for (rendered, added) in [
        (&spec["volumes"], &given["extraVolumes"]),
        (&container["volumeMounts"], &given["extraVolumeMounts"]),
    ] {
        assert_eq!(rendered.as_array().and_then(|it| it.last()), added.get(0));
    }
    assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(2), "nothing is mounted for the store `files`");
}
