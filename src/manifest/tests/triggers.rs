//! Errors in the `triggers` of a Config.

use insta::assert_snapshot;

use super::{errors, files, trigger_errors};

#[test]
fn all_errors_of_triggers_are_reported() {
    assert_snapshot!(trigger_errors(
        "{pollInterval: 1d, sqs: [{queueUrl: queue, region: EU}, {queueUrl: \"https://q\", region: a}, {queueUrl: \"https://q\", region: a}, {queueUrl: \"https://sqs.eu-west-1.amazonaws.com/1/q\", region: us-east-1}], webhook: {listen: everywhere, tls: {certificateFile: \"\"}}}"
    ), @r"
    images.yaml:4: triggers.webhook.tls: the field keyFile is missing
    images.yaml:4: triggers.pollInterval: must be hours, minutes and seconds, such as 10s or 1m30s, and be from 1s to 720h, or 0s for never
    images.yaml:4: triggers.sqs[0].queueUrl: must be a URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/regcred: relative URL without a base
    images.yaml:4: triggers.sqs[0].region: must be the name of a region, such as eu-west-1
    images.yaml:4: triggers.sqs[3].region: is not the region of the queue, which is in eu-west-1
    images.yaml:4: triggers.sqs[2].queueUrl: is a duplicate of an earlier queue: remove it
    images.yaml:4: triggers.webhook.tls.certificateFile: must not be empty
    images.yaml:4: triggers.webhook: has neither tokenFile nor hmacKeyFile: anyone could trigger regcred; set one of them
    images.yaml:4: triggers.webhook.listen: must be an address and a port, such as 0.0.0.0:8081
    images.yaml:4: triggers.sqs: only receives events of AWS Secrets Manager, and no store is one: add a store with awsSecretsManager, or remove the queues
    ");
}

#[test]
fn webhook_without_authentication_is_rejected() {
    assert_snapshot!(trigger_errors("{webhook: {}}"), @"images.yaml:4: triggers.webhook: has neither tokenFile nor hmacKeyFile: anyone could trigger regcred; set one of them");
}

#[test]
fn second_config_with_triggers_is_rejected() {
    let config = "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: []\ntriggers: {pollInterval: 0s}\n";
    assert_snapshot!(errors(&format!("{config}---\n{config}")), @"images.yaml:9: document 2: triggers: another Config has triggers, at images.yaml:4: merge them");
}

/// Returns every error of a Config with a queue, together with another one that has these stores.
fn queue_errors_with(stores: &str) -> String {
    const HEADER: &str = "apiVersion: regcred.dev/v1alpha1\nkind: Config\n";
    let queue =
        "triggers: {sqs: [{queueUrl: \"https://sqs.eu-west-1.amazonaws.com/1/q\", region: eu-west-1}]}";
    let queue = format!("{HEADER}stores: []\n{queue}\n");
    let stores = format!("{HEADER}stores: {stores}\n");
    let read = files(&[("queue.yaml", &queue), ("stores.yaml", &stores)]);
    read.err().map(|errors| errors.to_string()).unwrap_or_default()
}

#[test]
fn queue_without_an_aws_store_is_rejected() {
    let vault = "{name: v, vault: {address: 'https://v'}}";
    assert_snapshot!(queue_errors_with(&format!("[{vault}]")), @"queue.yaml:4: triggers.sqs: only receives events of AWS Secrets Manager, and no store is one: add a store with awsSecretsManager, or remove the queues");
    let ecr = "{name: e, awsEcr: {region: eu-west-1, registryIds: ['123456789012']}}";
    let errors = queue_errors_with(&format!("[{ecr}]"));
    assert!(errors.contains("only receives events of AWS Secrets Manager"), "ECR sends none: {errors}");
    let aws = "{name: a, awsSecretsManager: {region: eu-west-1}}";
    assert_eq!(queue_errors_with(&format!("[{vault}, {aws}]")), "");
}

#[test]
fn store_of_unknown_backend_may_be_the_one_of_a_queue() {
    for stores in ["[{name: a, awsSecretManager: {region: eu-west-1}}]", "[{}]", "{name: a}"] {
        let errors = queue_errors_with(stores);
        assert!(!errors.is_empty() && !errors.contains("triggers"), "{errors}");
    }
}
