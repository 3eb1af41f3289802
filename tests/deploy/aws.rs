//! `deploy/aws/`: the `CloudFormation` template and the Terraform module have no findings, and are equivalent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::aws::statement::Statements;
use crate::rendering::deploy;

mod stack;
mod statement;
mod terraform;

/// The rights of regcred in AWS, by statement, without those for customer-managed keys.
const RIGHTS: &[(&str, &[&str])] = &[
    ("AssumedRole", &["sts:AssumeRole"]),
    ("Batches", &["secretsmanager:BatchGetSecretValue"]),
    ("EcrPulls", &["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]),
    ("EcrToken", &["ecr:GetAuthorizationToken"]),
    ("Queue", &["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]),
    ("Secrets", &["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]),
];

/// The rights for customer-managed keys.
const RIGHTS_TO_KEYS: &[(&str, &[&str])] =
    &[("QueueKey", &["kms:Decrypt"]), ("SecretsKey", &["kms:Decrypt"])];

async fn template() -> Value {
    world::cloudformation(&deploy("aws/events.yaml")).await.expect("a template")
}

/// Returns the resources of one type in the template, by name.
fn resources<'a>(template: &'a Value, kind: &str) -> BTreeMap<&'a str, &'a Value> {
    let all = template["Resources"].as_object().expect("resources");
    let matching = all.iter().filter(|(_, resource)| resource["Type"] == kind);
    matching.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
}

#[tokio::test]
async fn cfn_lint_finds_nothing() {
    let findings = world::cfn_lint(&deploy("aws/events.yaml")).await.expect("cfn-lint runs");
    assert_eq!(findings, "");
}

#[tokio::test]
async fn cfn_lint_reports_unknown_property() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = directory.path().join("wrong.yaml");
    let template = std::fs::read_to_string(deploy("aws/events.yaml")).expect("a template");
    std::fs::write(&wrong, template.replace("VisibilityTimeout", "VisibilityTime")).expect("a file");
    let findings = world::cfn_lint(&wrong).await.expect("cfn-lint runs");
    assert!(findings.contains("'VisibilityTime' was unexpected"), "{findings}");
}

#[tokio::test]
async fn terraform_names_are_declared_and_used() {
    let module = terraform::Module::read().await;
    let (declared, used) = (module.declared(), module.used());
    assert_eq!(used.difference(&declared).collect::<Vec<_>>(), Vec::<&String>::new());
    let unused = declared.difference(&used).filter(|name| !name.starts_with("aws_"));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn template_and_module_have_the_same_parameters() {
    let (template, module) = (template().await, terraform::Module::read().await);
    let parameters = template["Parameters"].as_object().expect("parameters");
    let of_template = parameters.iter().map(|(name, parameter)| {
        let default = parameter["Default"].as_str().map(str::to_owned);
        (name.clone(), (default, parameter["Description"].as_str().unwrap_or_default().to_owned()))
    });
    assert_eq!(of_template.collect::<BTreeMap<_, _>>(), module.variables());
    let outputs = template["Outputs"].as_object().expect("outputs").keys().cloned();
    assert_eq!(outputs.collect::<BTreeSet<_>>(), module.outputs());
}

#[tokio::test]
async fn template_and_module_send_the_same_events() {
    let (template, module) = (template().await, terraform::Module::read().await);
    let rules = resources(&template, "AWS::Events::Rule");
    let patterns: BTreeMap<String, Value> = rules
        .iter()
        .map(|(name, rule)| ((*name).to_owned(), statement::resolve(&rule["EventPattern"])))
        .collect();
    assert_eq!(patterns, module.event_patterns());
    assert_eq!(
        patterns["LabelUpdated"],
        json!({
            "source": ["aws.secretsmanager"],
            "detail-type": ["Secret Label Updated"],
            "detail": {"name": [{"prefix": "${SecretNamePrefix}"}], "labelUpdated": ["AWSCURRENT"]},
        })
    );
    for (name, rule) in rules {
        assert_eq!(
            rule["Targets"],
            json!([{"Id": "queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}]),
            "{name}"
        );
    }
    assert_eq!(module.targets(), patterns.keys().cloned().collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn template_and_module_grant_the_used_rights_only() {
    let (template, module) = (template().await, terraform::Module::read().await);
    let granted = Statements::from_template(&template["Resources"]);
    assert_eq!(granted, Statements::from_module(&module));

    let expected: BTreeMap<&str, Vec<&str>> =
        [RIGHTS, RIGHTS_TO_KEYS].concat().into_iter().map(|(sid, actions)| (sid, actions.to_vec())).collect();
    assert_eq!(granted.rights_of_regcred(), expected);
    for (sid, statement) in &granted.0 {
        let is_unrestricted = statement.resources.iter().any(|it| it == "*");
        // The two actions have no resources.
        assert_eq!(is_unrestricted, ["Batches", "EcrToken"].contains(&sid.as_str()), "{sid}: {statement:?}");
    }
    let optional = granted.0.iter().filter(|(_, it)| it.is_optional).map(|(sid, _)| sid.as_str());
    let expected = ["AssumedRole", "Batches", "EcrPulls", "EcrToken", "QueueKey", "SecretsKey"];
    assert_eq!(optional.collect::<Vec<_>>(), expected);
    let repositories =
        "arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/${EcrRepositoryPrefix}*";
    assert_eq!(granted.0["EcrPulls"].resources, [repositories]);
    assert_eq!(granted.0["AssumedRole"].resources, ["${AssumedRoleArn}"]);
    for (sid, via) in [("SecretsKey", "secretsmanager"), ("QueueKey", "sqs")] {
        let service = format!("{via}.${{AWS::Region}}.amazonaws.com");
        assert_eq!(granted.0[sid].conditions["StringEquals kms:ViaService"], [service], "{sid}");
    }
    assert_eq!(
        granted.0["Send"].conditions["ArnEquals aws:SourceArn"],
        ["${LabelUpdated.Arn}", "${RotationSucceeded.Arn}", "${SecretChanged.Arn}"]
    );
}

#[tokio::test]
async fn template_and_module_create_the_same_queues_and_alarm() {
    let (template, module) = (template().await, terraform::Module::read().await);
    for (name, attribute, property) in [
        ("Queue", "visibility_timeout_seconds", "VisibilityTimeout"),
        ("Queue", "receive_wait_time_seconds", "ReceiveMessageWaitTimeSeconds"),
        ("Queue", "message_retention_seconds", "MessageRetentionPeriod"),
        ("DeadLetterQueue", "message_retention_seconds", "MessageRetentionPeriod"),
    ] {
        let written = &template["Resources"][name]["Properties"][property];
        assert!(written.is_u64(), "{name}: {property}");
        assert_eq!(&module.resource("aws_sqs_queue", name)[attribute], written, "{name}: {property}");
    }
    let redrive = &template["Resources"]["Queue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"];
    let terraform = module.resource("aws_sqs_queue", "Queue")["redrive_policy"].clone();
    assert!(
        terraform.as_str().is_some_and(|it| it.contains(&format!("maxReceiveCount = {redrive}"))),
        "{terraform}"
    );

    let alarm = &template["Resources"]["DeadLetterAlarm"]["Properties"];
    let attributes = module.resource("aws_cloudwatch_metric_alarm", "DeadLetterAlarm");
    for (attribute, property) in [
        ("alarm_description", "AlarmDescription"),
        ("namespace", "Namespace"),
        ("metric_name", "MetricName"),
        ("statistic", "Statistic"),
        ("period", "Period"),
        ("evaluation_periods", "EvaluationPeriods"),
        ("threshold", "Threshold"),
        ("comparison_operator", "ComparisonOperator"),
        ("treat_missing_data", "TreatMissingData"),
    ] {
        assert!(!alarm[property].is_null(), "{property}");
        assert_eq!(attributes[attribute], alarm[property], "{property}");
    }
}
