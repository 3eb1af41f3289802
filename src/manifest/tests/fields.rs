//! Errors of single fields.

use super::{SMALLEST, check_spec, check_store, good, good_store};

#[test]
fn stores_are_validated() {
    check_store("{name: a}", ": has none of vault, awsSecretsManager, awsEcr and file: give one");
    check_store(
        "{name: a, file: {directory: x}, vault: {address: 'https://v'}}",
        ": has more than one of vault, awsSecretsManager, awsEcr and file: make each a store of its own",
    );
    check_store("{name: a, vault: {address: 'ftp://v'}}", ".vault.address: must be an http or https URL");
    check_store(
        "{name: a, vault: {address: 'https://v?x'}}",
        ".vault.address: must not have a query or a fragment",
    );
    check_store(
        "{name: a, vault: {address: 'https://lb/vault/v1/'}}",
        ".vault.address: must not end with /v1: leave it out, every request adds it",
    );
    let visible = "must be ASCII without spaces and control characters: it goes into HTTP requests";
    for (field, name) in [
        ("namespace: 'a b'", "namespace"),
        ("namespace: \"a\\n\"", "namespace"),
        ("namespace: ä", "namespace"),
        ("mount: \"a\\tb\"", "mount"),
        ("auth: {kubernetes: {role: x, mount: ä}}", "auth.kubernetes.mount"),
        ("auth: {appRole: {roleIdFile: x, secretIdFile: x, mount: 'a '}}", "auth.appRole.mount"),
    ] {
        check_store(
            &format!("{{name: a, vault: {{address: 'https://v', {field}}}}}"),
            &format!(".vault.{name}: {visible}"),
        );
    }
    check_store(
        "{name: a, vault: {address: 'https://v', mount: a//b}}",
        ".vault.mount: must not have an empty part, . or .. between its slashes",
    );
    check_store(
        "{name: a, vault: {address: 'https://v', auth: {tokenFile: x, kubernetes: {role: x}}}}",
        ".vault.auth: has more than one of kubernetes, appRole and tokenFile: give one",
    );
    check_store("{name: a, vault: {address: 'https://v', kvVersion: 3}}", ".vault.kvVersion: must be 1 or 2");
    check_store(
        "{name: a, vault: {address: 'https://v', kvVersion: '2'}}",
        ".vault.kvVersion: must be a whole number, not text",
    );
    check_store("{name: a, vault: {address: 'https://v', mount: //}}", ".vault.mount: must not be empty");
    check_store(
        "{name: a, file: {directory: x}, keys: ['a[']}",
        ".keys[0]: is not a valid glob: unclosed character class; missing ']'",
    );
    check_allow_lists();
    check_store("{name: a, file: null}", ".file: has no value: give it one, or remove the field");
    check_store(
        "{name: a, awsSecretsManager: {region: ''}}",
        ".awsSecretsManager.region: must be the name of a region, such as eu-west-1",
    );
}

#[test]
fn ecr_store_is_validated() {
    good_store("{name: a, awsEcr: {region: eu-west-1, registryIds: ['012345678901']}}");
    let ids = |ids: &str| format!("{{name: a, awsEcr: {{region: eu-west-1, registryIds: {ids}}}}}");
    check_store(
        &ids("[]"),
        ".awsEcr.registryIds: must have at least one registry id: the 12 digits of an AWS account",
    );
    let id = ".awsEcr.registryIds[0]: must be a registry id: the 12 digits of an AWS account, such as 123456789012";
    for text in [
        "'12345678901'",
        "'1234567890123'",
        "'12345678901x'",
        "'123456789012.dkr.ecr.eu-west-1.amazonaws.com'",
        "'*'",
    ] {
        check_store(&ids(&format!("[{text}]")), id);
    }
    check_store(
        &ids("[123456789012]"),
        ".awsEcr.registryIds[0]: must be text, but is a number to YAML: put it in quotes",
    );
    check_store("{name: a, awsEcr: {region: eu-west-1}}", ".awsEcr: the field registryIds is missing");
    check_store(
        "{name: a, awsEcr: {region: EU, registryIds: ['123456789012']}}",
        ".awsEcr.region: must be the name of a region, such as eu-west-1",
    );
}

#[test]
fn role_of_an_aws_store_is_an_arn() {
    for (field, rest) in [("awsSecretsManager", ""), ("awsEcr", ", registryIds: ['123456789012']")] {
        let store =
            |role: &str| format!("{{name: a, {field}: {{region: eu-west-1, roleArn: '{role}'{rest}}}}}");
        for role in ["arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::123456789012:role/path/to/a"] {
            good_store(&store(role));
        }
        for role in [
            "",
            "a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::1:role/a",
            "arn:aws:sts::123456789012:assumed-role/a/b",
            "arn:aws:iam:eu-west-1:123456789012:role/a",
        ] {
            let detail = "must be the ARN of a role, such as arn:aws:iam::123456789012:role/regcred";
            check_store(&store(role), &format!(".{field}.roleArn: {detail}"));
        }
    }
}

#[test]
fn http_of_another_machine_must_be_permitted() {
    let detail = ".vault.address: must be an https URL: with http everybody on the network can read the token and \
                  the passwords. Use https, with `caFile` for an authority of your own, or set `allowHttp: true`";
    for address in
        ["http://vault:8200", "http://192.0.2.1", "http://[2001:db8::1]:8200", "http://localhost.example.com"]
    {
        check_store(&format!("{{name: a, vault: {{address: '{address}'}}}}"), detail);
        check_store(&format!("{{name: a, vault: {{address: '{address}', allowHttp: false}}}}"), detail);
    }
    for fields in [
        "address: 'http://vault:8200', allowHttp: true",
        "address: 'http://localhost:8200'",
        "address: 'http://127.8.0.1:8200'",
        "address: 'http://[::1]:8200'",
        "address: 'https://vault:8200'",
    ] {
        good_store(&format!("{{name: files, vault: {{{fields}}}}}"));
    }
}

fn with_redirect_host(host: &str) -> String {
    format!("{{name: files, vault: {{address: 'https://v', redirectHosts: ['{host}']}}}}")
}

#[test]
fn redirect_hosts_are_hosts_with_or_without_port() {
    let detail =
        ".vault.redirectHosts[0]: must be a host, with or without a port, such as node-1.example.com:8200";
    for host in ["", "https://v", "v/x", "v:x", "v:70000", "*.example.com", "a b", "u@v", "[::1", "v:"] {
        check_store(&with_redirect_host(host), detail);
    }
    for host in ["v", "Node-1.example.com", "v:8200", "192.0.2.1", "192.0.2.1:8200", "[::1]", "[::1]:8200"] {
        good_store(&with_redirect_host(host));
    }
}

/// Checks the lists of namespaces and hosts, and the budget of the poll.
fn check_allow_lists() {
    check_field(
        "namespaces: [Web]",
        ".namespaces[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 \
         characters), or a glob of such letters with *, ? and {one,other}",
    );
    check_field(
        "namespaceSelector: {matchExpressions: [{key: tier, operator: In}]}",
        ".namespaceSelector.matchExpressions[0].values: must not be empty with the operators In and NotIn",
    );
    check_field(
        "namespaceSelector: {matchLabel: {}}",
        ".namespaceSelector.matchLabel: unknown field; did you mean matchLabels? known: matchExpressions, \
         matchLabels",
    );
    check_field(
        "hosts: ['robot:sentinel@ghcr.io']",
        ".hosts[0]: must be a registry as in `host` of a ClusterPullSecret, such as ghcr.io or \
         registry.example.com:5000/team, or a glob of such hosts in lower case with *, ? and {one,other}; \
         Docker Hub is docker.io",
    );
    check_field("hosts: ghcr.io", ".hosts: must be a list, not text");
    check_field("maxPollsPerSecond: 0", ".maxPollsPerSecond: must be from 1 to 1000");
}

/// Checks the error of a store with this field.
fn check_field(field: &str, expected: &str) {
    check_store(&format!("{{name: a, file: {{directory: x}}, {field}}}"), expected);
}

#[test]
fn braces_of_a_key_are_those_of_the_placeholder() {
    check_spec(
        &with_from("key: 'teams/{{ namespace }}/ghcr'"),
        "5: spec.registries[0].from.key: must have no braces but those of {{namespace}}, which stands for the \
         name of the namespace",
    );
    let own = SMALLEST.replace("key: ghcr", "key: 'teams/{{namespace}}/ghcr'");
    assert!(good(&own).cluster_pull_secrets[0].registries[0].store_key.is_per_namespace());
}

#[test]
fn source_has_a_key_or_a_path() {
    let either = "5: spec.registries[0].from: must have either key or path";
    check_spec(&with_from("key: a, path: b/c"), either);
    check_spec(&with_from("usernameKey: user"), either);
    let alone = "5: spec.registries[0].from.method: is for a path: give one, or remove the method";
    check_spec(&with_from("key: a, method: write"), alone);
    let as_key =
        "5: spec.registries[0].from.key: must not begin with GET / or POST /: give the path in `path`";
    check_spec(&with_from("key: GET /a/b"), as_key);
    let server = "5: spec.registries[0].from.path: must not have a part sys, auth or cubbyhole: these belong to \
                  the server itself";
    for path in ["sys/raw/a", "Auth/token/create", "team/sys/policy"] {
        check_spec(&with_from(&format!("path: {path}")), server);
    }
    let spelling = "5: spec.registries[0].from.path: must be at least two parts of letters, digits and _-.:@+ \
                    between single slashes, without . and ..";
    for path in ["/sys/raw", "a//b", "a/../sys", "a/%2e%2e/sys", "token", "a/b?c"] {
        check_spec(&with_from(&format!("path: '{path}'")), spelling);
    }
}

#[test]
fn path_with_its_method_becomes_the_key() {
    for (written, expect) in [
        ("path: artifactory/token/puller", "GET /artifactory/token/puller"),
        ("path: 'a/{{namespace}}', method: write", "POST /a/{{namespace}}"),
    ] {
        let manifest = SMALLEST.replace("key: ghcr", written);
        assert_eq!(good(&manifest).cluster_pull_secrets[0].registries[0].store_key.key.0, expect);
    }
}

/// Returns a spec with this field in `from`.
fn with_from(field: &str) -> String {
    format!("registries: [{{host: ghcr.io, from: {{store: files, {field}}}}}]")
}

#[test]
fn other_yaml_types_are_no_text() {
    for (written, kind) in
        [("no", "true or false"), ("010", "a number"), ("1e3", "a number"), ("0x1F", "a number")]
    {
        check_spec(
            &with_from(&format!("key: {written}")),
            &format!("5: spec.registries[0].from.key: must be text, but is {kind} to YAML: put it in quotes"),
        );
    }
    check_spec(
        &with_from("key: ~"),
        "5: spec.registries[0].from.key: has no value: give it one, or remove the field",
    );
    check_spec(&with_from("key: [a]"), "5: spec.registries[0].from.key: must be text, not a list");
    check_spec(
        &with_from("key: a, 1: b"),
        "5: spec.registries[0].from: has a number for a field name: put it in quotes",
    );
    let quoted = SMALLEST.replace("key: ghcr", "key: '010', usernameKey: \"no\", passwordKey: !!str yes");
    assert_eq!(good(&quoted).cluster_pull_secrets[0].registries[0].store_key.key.0, "010");
}

#[test]
fn password_field_gets_a_hint() {
    for field in ["password", "token"] {
        check_spec(
            &format!("registries: [{{host: ghcr.io, {field}: hunter2, from: {{store: files, key: a}}}}]"),
            &format!(
                "5: spec.registries[0].{field}: unknown field; passwords stay in the store; \
                 known: from, host, username"
            ),
        );
    }
}

#[test]
fn field_that_requires_a_host_is_rejected_without() {
    check_spec(
        "registries: [{username: robot, from: {store: files, key: a}}]",
        "5: spec.registries[0].username: needs a host: without one every entry of a docker config is taken as it is",
    );
    check_spec(
        "registries: [{host: ghcr.io, username: robot, from: {store: files, key: a, usernameKey: b}}]",
        "5: spec.registries[0].username: cannot be combined with from.usernameKey: use only one of them",
    );
    check_spec(
        "registries: [{from: {store: files, key: a}}, {from: {store: files, key: b}}, {from: {store: files, key: b}}]",
        "5: spec.registries[2]: takes every entry of the same key as images.yaml:5",
    );
    check_spec("registries: []", "5: spec.registries: must have at least one registry");
}

#[test]
fn duplicate_registry_names_both_lines() {
    check_spec(
        "registries:\n- host: docker.io\n  from: {store: files, key: a}\n- from: {store: files, key: b}\n  host: index.docker.io",
        "9: spec.registries[1].host: is docker.io, which images.yaml:6 has already: \
         list each registry only once",
    );
}
