//! What may stand in the `triggers` of a Config.

use insta::assert_snapshot;

use super::{files, mistakes, of_triggers};

#[test]
fn every_mistake_of_the_triggers_is_told() {
    assert_snapshot!(of_triggers(
        "{pollInterval: 1d, sqs: [{queueUrl: queue, region: EU}, {queueUrl: \"https://q\", region: a}, {queueUrl: \"https://q\", region: a}, {queueUrl: \"https://sqs.eu-west-1.amazonaws.com/1/q\", region: us-east-1}], webhook: {listen: everywhere, tls: {certificateFile: \"\"}}}"
    ), @r"
    images.yaml:4: triggers.webhook.tls: the field keyFile is missing
    images.yaml:4: triggers.pollInterval: must be hours, minutes and seconds, such as 10s or 1m30s, and be from 1s to 720h, or 0s for never
    images.yaml:4: triggers.sqs[0].queueUrl: must be a URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/regcred: relative URL without a base
    images.yaml:4: triggers.sqs[0].region: must be the name of a region, such as eu-west-1
    images.yaml:4: triggers.sqs[3].region: is not the region of the queue, which is in eu-west-1
    images.yaml:4: triggers.sqs[2].queueUrl: this queue is there already: remove it
    images.yaml:4: triggers.webhook.tls.certificateFile: must not be empty
    images.yaml:4: triggers.webhook: has neither tokenFile nor hmacKeyFile: anyone could wake regcred; give one of them
    images.yaml:4: triggers.webhook.listen: must be an address and a port, such as 0.0.0.0:8081
    images.yaml:4: triggers.sqs: tells of AWS Secrets Manager alone, and no store is one: give a store with awsSecretsManager, or remove the queues
    ");
}

#[test]
fn a_webhook_that_anyone_may_call_is_refused() {
    assert_snapshot!(of_triggers("{webhook: {}}"), @"images.yaml:4: triggers.webhook: has neither tokenFile nor hmacKeyFile: anyone could wake regcred; give one of them");
}

#[test]
fn one_config_has_the_triggers() {
    let config = "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: []\ntriggers: {pollInterval: 0s}\n";
    assert_snapshot!(mistakes(&format!("{config}---\n{config}")), @"images.yaml:9: document 2: triggers: another Config has triggers, at images.yaml:4: put them together");
}

/// Every mistake of a Config with a queue, beside another one with this for its stores.
fn of_a_queue_beside(stores: &str) -> String {
    let config = |field: &str| format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\n{field}\n");
    let queue =
        "triggers: {sqs: [{queueUrl: \"https://sqs.eu-west-1.amazonaws.com/1/q\", region: eu-west-1}]}";
    let queue = config(&format!("stores: []\n{queue}"));
    let stores = config(&format!("stores: {stores}"));
    let read = files(&[("queue.yaml", &queue), ("stores.yaml", &stores)]);
    read.err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
}

#[test]
fn a_queue_that_tells_of_no_store_is_refused() {
    let vault = "{name: v, vault: {address: 'https://v'}}";
    assert_snapshot!(of_a_queue_beside(&format!("[{vault}]")), @"queue.yaml:4: triggers.sqs: tells of AWS Secrets Manager alone, and no store is one: give a store with awsSecretsManager, or remove the queues");
    let aws = "{name: a, awsSecretsManager: {region: eu-west-1}}";
    assert_eq!(of_a_queue_beside(&format!("[{vault}, {aws}]")), "");
}

#[test]
fn a_store_whose_kind_nobody_knows_may_be_the_one_that_a_queue_tells_of() {
    for stores in ["[{name: a, awsSecretManager: {region: eu-west-1}}]", "[{}]", "{name: a}"] {
        let mistakes = of_a_queue_beside(stores);
        assert!(!mistakes.is_empty() && !mistakes.contains("triggers"), "{mistakes}");
    }
}
