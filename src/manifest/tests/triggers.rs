//! What may stand in the `triggers` of a Config.

use insta::assert_snapshot;

use super::{mistakes, of_triggers};

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
