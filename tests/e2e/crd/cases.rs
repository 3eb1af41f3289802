//! Valid and invalid ClusterPullSecrets, each by the lines of its spec.

/// One ClusterPullSecret.
pub(super) struct Case {
    pub(super) name: String,
    spec: String,
    /// A part of the expected error.
    pub(super) expect: String,
    /// The same from the schema, for mistakes that no CEL rule checks.
    schema: Option<&'static str>,
}

impl Case {
    pub(super) fn document(&self) -> String {
        let Self { name, spec, .. } = self;
        let registries = "registries: [{host: ghcr.io, from: {store: files, key: ghcr}}]";
        let spec =
            if spec.starts_with("registries") { spec.clone() } else { format!("{registries}\n{spec}") };
        let spec = spec.replace('\n', "\n  ");
        format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n"
        )
    }

    /// A part of the expected error of the API server.
    pub(super) fn expect_of_api_server(&self) -> &str {
        self.schema.unwrap_or(&self.expect)
    }
}

/// The valid cases.
pub(super) fn good() -> Vec<Case> {
    let hosts = [
        "ghcr.io",
        "https://Quay.io/v2/",
        "docker.io",
        "docker.io/acme",
        "registry:5000/team/",
        "\"*.example.com\"",
        "localhost",
        "\"[fd00::1]:5000\"",
        "index.docker.io:443",
        "ghcr.io/v1beta",
        "ghcr.io/web/v2",
    ];
    let hosts = hosts.map(|host| format!("- {{host: {host}, from: {{store: files, key: a}}}}")).join("\n");
    let specs = [
        String::new(),
        format!("registries:\n{hosts}"),
        "registries: [{from: {store: files, key: a}}, {from: {store: files, key: b}}]".into(),
        "registries: [{from: {store: files, key: a, configKey: b.c}}]".into(),
        "registries: [{host: ghcr.io, from: {store: files, key: a, configKey: .dockerconfigjson}}]".into(),
        "registries: [{host: ghcr.io, username: robot$x, from: {store: files, key: a, passwordKey: a.b}}]"
            .into(),
        "registries: [{host: ghcr.io, from: {store: files, key: 'a/..b/.c/a b', usernameKey: ä}}]".into(),
        "registries: [{host: ghcr.io, from: {store: files, key: 'a/{{namespace}}/{{namespace}}-b'}}]".into(),
        "secretName: a.b-c".into(),
        "namespaces: {}".into(),
        "namespaces: {selector: {}, include: [], exclude: []}".into(),
        "namespaces: {include: [web, 'team-*', '{a,b*}-?', '**'], exclude: ['*-sandbox', kube-system]}"
            .into(),
        format!("namespaces: {{include: [{}]}}", vec!["a"; 1000].join(", ")),
        "namespaces: {selector: {matchLabels: {team: web, example.com/Team_1: '', a: A_b.c}}}".into(),
        "namespaces: {selector: {matchExpressions: [{key: a.b/c, operator: In, values: [a, '']}]}}".into(),
        "namespaces: {selector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}".into(),
        "namespaces: {selector: {matchExpressions: [{key: a, operator: Exists}]}}".into(),
        "namespaces: {selector: {matchExpressions: [{key: a, operator: DoesNotExist, values: []}]}}".into(),
        "serviceAccounts: []".into(),
        "serviceAccounts: ['*']".into(),
        "serviceAccounts: [default, builder.x]".into(),
        "existing: Adopt\ndeletion: Retain\nsuspend: yes".into(),
        "refreshInterval: 10s".into(),
        "refreshInterval: 720h".into(),
        "refreshInterval: 1h0m30s".into(),
        format!("secretName: {}", "a".repeat(253)),
    ];
    specs.into_iter().enumerate().map(|(n, spec)| case(format!("good-{n}"), spec, "", None)).collect()
}

/// The invalid cases.
pub(super) fn bad() -> Vec<Case> {
    let rules = rejected_by_rules().into_iter().map(|(spec, expect)| (spec, expect, None));
    let schemas = rejected_by_schema().into_iter().map(|(spec, expect, schema)| (spec, expect, Some(schema)));
    let specs = rules.chain(schemas).enumerate();
    let mut cases: Vec<Case> =
        specs.map(|(n, (spec, expect, schema))| case(format!("bad-{n}"), spec, expect, schema)).collect();
    let long = "a".repeat(64);
    cases.push(case(
        long,
        String::new(),
        "must have at most 63 characters: it is also the value of a label",
        None,
    ));
    cases
}

fn case(name: String, spec: String, expect: &str, schema: Option<&'static str>) -> Case {
    Case { name, spec, expect: expect.to_owned(), schema }
}

/// One item of `registries`.
fn registry(host: &str, key: &str) -> String {
    format!("{{host: '{host}', from: {{store: files, key: {key}}}}}")
}

fn with_host(host: &str) -> String {
    format!("registries: [{}]", registry(host, "a"))
}

fn with_hosts(one: &str, other: &str) -> String {
    format!("registries: [{}, {}]", registry(one, "a"), registry(other, "a"))
}

fn with_key(key: &str) -> String {
    format!("registries: [{}]", registry("ghcr.io", key))
}

fn with_registry(fields: &str) -> String {
    format!("registries: [{{host: ghcr.io, {fields}}}]")
}

fn with_from(fields: &str) -> String {
    with_registry(&format!("from: {{store: files, {fields}}}"))
}

fn with_labels(labels: &str) -> String {
    format!("namespaces: {{selector: {{matchLabels: {{{labels}}}}}}}")
}

fn with_requirement(fields: &str) -> String {
    format!("namespaces: {{selector: {{matchExpressions: [{{{fields}}}]}}}}")
}

/// The lines of a spec, and a part of the expected error.
type Bad = (String, &'static str);

fn rejected_by_rules() -> Vec<Bad> {
    [bad_hosts(), bad_registries(), bad_namespaces(), bad_choices(), nulls()].concat()
}

fn bad_hosts() -> Vec<Bad> {
    let once = "list each registry only once";
    vec![
        (with_hosts("ghcr.io", "ghcr.io"), once),
        (with_hosts("ghcr.io", "GHCR.io"), once),
        (with_hosts("ghcr.io", "https://ghcr.io/"), once),
        (with_hosts("ghcr.io/team", "http://ghcr.io/v2/team"), once),
        (with_hosts("docker.io", "index.docker.io"), once),
        (with_hosts("docker.io", "https://index.docker.io/v1/"), once),
        (with_hosts("docker.io/acme", "index.docker.io/acme"), once),
        (
            with_host("robot:pw@ghcr.io"),
            "holds an @: write the host alone; usernames and passwords stay in the store",
        ),
        (
            with_host("oci://ghcr.io"),
            "has a scheme other than http and https: write the host without a scheme",
        ),
        (with_host("ghcr.io?x"), "has a query or a fragment: write host, host:port or host:port/path"),
        (with_host("https://"), "no host: write the registry as images name it, such as ghcr.io"),
        (with_host("a[bc].example.com"), "has a pattern other than *: write * for one part of the host"),
        (with_host("**.example.com"), "has ** in the host: one * stands for one part between dots"),
        (with_host("ghcr.io/team-*"), "has a * after the host: the kubelet knows * only in the host"),
        (with_host("a..b"), "has an empty part of the host, or one that begins or ends with a hyphen"),
        (with_host("ghcr"), "has neither a dot nor a port: an image named like this is one on Docker Hub"),
        (
            with_host("registry-1.docker.io"),
            "is Docker Hub by a name the kubelet does not know it by: write docker.io",
        ),
        (with_host("ghcr.io:0"), "has a port that is not a number from 1 to 65535"),
        (with_host("fd00::1"), "has a malformed IPv6 address: write it in brackets and with a port"),
        (with_host("[fd00::1]"), "has an IPv6 address without a port, which the kubelet never matches"),
        (with_host("ghcr.io/Team"), "has upper-case letters in its path, which no image name has"),
        (with_host("ghcr.io/a/../b"), "has an empty, . or .. part in its path, which no image name has"),
        (
            with_host("ghcr.io/v1/v2"),
            "has /v1/ or /v2/ twice: the kubelet drops the first; write the path without them",
        ),
        (with_host("a_b.example.com"), "no image name has there: write host, host:port or host:port/path"),
    ]
}

fn bad_registries() -> Vec<Bad> {
    const BRACES: &str = "must have no braces but those of {{namespace}}";
    const WITH_CONFIG: &str =
        "cannot be combined with from.configKey: each entry of a docker config has its own";
    const NEEDS_HOST: &str = "needs a host: without one every entry of a docker config is taken as it is";
    vec![
        ("registries: []".into(), "must have at least one registry"),
        (
            "registries: [{from: {store: files, key: a}}, {from: {store: files, key: a}}]".into(),
            "every entry of the same key",
        ),
        (with_registry("username: a:b, from: {store: files, key: a}"), "must not have a colon"),
        (with_registry("username: '', from: {store: files, key: a}"), "must not be empty"),
        (
            with_registry("username: a, from: {store: files, key: a, usernameKey: b}"),
            "cannot be combined with from.usernameKey: use only one of them",
        ),
        ("registries: [{username: a, from: {store: files, key: a}}]".into(), NEEDS_HOST),
        ("registries: [{from: {store: files, key: a, usernameKey: b}}]".into(), NEEDS_HOST),
        ("registries: [{from: {store: files, key: a, passwordKey: b}}]".into(), NEEDS_HOST),
        (with_registry("from: {store: A_b, key: a}"), "must be lower-case letters, digits and hyphens"),
        (with_from("key: ../a"), "must not have . or .. between its slashes"),
        (with_from("key: a/."), "must not have . or .. between its slashes"),
        (with_from("key: '{namespace}'"), BRACES),
        (with_from("key: '{{ namespace }}'"), BRACES),
        (with_from("key: 'a/{{name}}'"), BRACES),
        (with_from("key: '{{namespace}}}'"), BRACES),
        (with_from("key: ''"), "must not be empty"),
        (with_from("key: ' a'"), "must not begin or end with a space"),
        (with_from("key: \"a\\n\""), "must not have line breaks or other control characters"),
        (with_from("key: a, passwordKey: ''"), "must not be empty"),
        (with_from("key: a, configKey: ''"), "must not be empty"),
        (with_from("key: a, configKey: ' b'"), "must not begin or end with a space"),
        (with_from("key: a, configKey: b, usernameKey: c"), WITH_CONFIG),
        (with_from("key: a, configKey: b, passwordKey: c"), WITH_CONFIG),
        (with_registry("username: a, from: {store: files, key: a, configKey: b}"), WITH_CONFIG),
    ]
}

fn bad_namespaces() -> Vec<Bad> {
    const KEY: &str = "must be a label: letters, digits, hyphens, underscores and dots";
    const VALUE: &str = "must be the value of a label: letters, digits, hyphens, underscores and dots";
    vec![
        ("namespaces: {include: [Web]}".into(), "must be the name of a namespace"),
        ("namespaces: {exclude: ['team-[0-9]']}".into(), "a glob of such letters with *, ? and {one,other}"),
        ("namespaces: {include: ['{a,{b}}']}".into(), "a glob of such letters with *, ? and {one,other}"),
        (with_labels("'a b': web"), KEY),
        (with_labels("A/b: web"), KEY),
        (with_labels(&format!("{}/b: web", "a".repeat(254))), KEY),
        (with_labels("team: -web"), VALUE),
        (with_requirement("key: '', operator: Exists"), KEY),
        (with_requirement("key: a, operator: In, values: ['b c']"), VALUE),
        (with_requirement("key: a, operator: In"), "must not be empty with the operators In and NotIn"),
        (
            with_requirement("key: a, operator: NotIn, values: []"),
            "must not be empty with the operators In and NotIn",
        ),
        (
            with_requirement("key: a, operator: Exists, values: [b]"),
            "must be empty with the operators Exists and",
        ),
    ]
}

fn bad_choices() -> Vec<Bad> {
    const NAME: &str =
        "must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit";
    const INTERVAL: &str =
        "must be hours, minutes and seconds, such as 1h, 90m or 1h30m, and be from 10s to 720h";
    vec![
        ("secretName: A".into(), NAME),
        ("secretName: a..b".into(), NAME),
        ("secretName: ''".into(), NAME),
        ("serviceAccounts: [Default]".into(), NAME),
        ("serviceAccounts: [default, '*']".into(), "* stands for all: it must be the only entry"),
        ("refreshInterval: 9s".into(), INTERVAL),
        ("refreshInterval: 721h".into(), INTERVAL),
        ("refreshInterval: 1d".into(), INTERVAL),
        ("refreshInterval: ''".into(), INTERVAL),
        ("refreshInterval: 30m1h".into(), INTERVAL),
    ]
}

/// Nulls, which the API server would drop together with the commented lines below them.
fn nulls() -> Vec<Bad> {
    let specs = [
        "namespaces: ~",
        "namespaces:\n  include:\n  # - web",
        "namespaces: {selector: {matchExpressions: null}}",
        "namespaces: {selector: {matchLabels: {team: null}}}",
        "suspend: null",
        "serviceAccounts: null",
        "registries: [{host: ghcr.io, username: null, from: {store: files, key: a}}]",
        "registries: [{host: ~, from: {store: files, key: a}}]",
    ];
    specs.map(|spec| (spec.to_owned(), "has no value: give it one, or remove the field")).to_vec()
}

/// The expected errors of the validation and of the schema.
fn rejected_by_schema() -> Vec<(String, &'static str, &'static str)> {
    let registries: Vec<_> = (0..65).map(|n| registry(&format!("r{n}.io"), "a")).collect();
    vec![
        (
            "registires: []".into(),
            "unknown field; did you mean registries?",
            "unknown field \"spec.registires\"",
        ),
        ("verify: Enforce".into(), "unknown field", "unknown field \"spec.verify\""),
        (
            "registries: [{host: ghcr.io, password: x, from: {store: files, key: a}}]".into(),
            "passwords stay in the store",
            "unknown field \"spec.registries[0].password\"",
        ),
        (
            "registries: [{host: ghcr.io, from: {store: files}}]".into(),
            "must have either key or path",
            "must have either key or path",
        ),
        ("registries: [{host: ghcr.io}]".into(), "the field from is missing", "from: Required"),
        (with_key("~"), "has no value: give it one, or remove the field", "must have either key or path"),
        (with_key("010"), "must be text, but is a number", "must be of type string"),
        (with_key("no"), "must be text, but is true or false", "must be of type string"),
        ("suspend: 'true'".into(), "must be true or false, not text", "must be of type boolean"),
        ("refreshInterval: 60".into(), "must be text, but is a number", "must be of type string"),
        ("serviceAccounts: default".into(), "must be a list, not text", "must be of type array"),
        ("namespaces: {include: [~]}".into(), "has no value", "must be of type string"),
        ("serviceAccounts: [default, default]".into(), "is listed twice", "Duplicate value"),
        (
            "existing: adopt".into(),
            "did you mean Adopt? known: Refuse, Adopt",
            "supported values: \"Refuse\", \"Adopt\"",
        ),
        ("deletion: Keep".into(), "known: Delete, Retain", "supported values: \"Delete\", \"Retain\""),
        (
            "namespaces: {selector: {matchExpressions: [{key: a, operator: Is}]}}".into(),
            "known: In, NotIn, Exists, DoesNotExist",
            "supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\"",
        ),
        (
            format!("secretName: {}", "a".repeat(254)),
            "must have at most 253 characters",
            "may not be more than 253",
        ),
        (with_key(&"a".repeat(1025)), "must have at most 1024 characters", "may not be more than 1024"),
        (
            format!("registries: [{}]", registries.join(", ")),
            "must have at most 64 items",
            "must have at most 64 items",
        ),
        (
            format!("namespaces: {{include: [{}]}}", vec!["a"; 1001].join(", ")),
            "must have at most 1000 items",
            "must have at most 1000 items",
        ),
    ]
}
