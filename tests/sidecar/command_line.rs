//! Arguments, and the errors that end the command.

use crate::host::Host;

/// The error and its hint, without the name of the host's directory.
#[track_caller]
fn check(host: &Host, arguments: &[&str], expect: &str) {
    let ended = host.once(arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    assert_eq!(ended.stderr.trim(), expect);
}

#[test]
fn manifests_and_output_are_required_unless_a_file_is_checked() {
    let host = Host::new(&[("ghcr.io", "one")]);
    for arguments in [
        &["sidecar", "-f", "manifests.yaml"][..],
        &["sidecar", "--output", "docker/config.json"],
        &["sidecar", "--check", "docker/config.json", "--once"],
        &["sidecar", "-f", "manifests.yaml", "--output", "x", "--mode", "1777"],
    ] {
        assert_eq!(host.run(host.regcred(arguments)).code, 2, "{arguments:?}");
    }
}

#[test]
fn unknown_name_is_named_with_the_known_ones() {
    let host = Host::new(&[("ghcr.io", "one")]);
    check(
        &host,
        &["image"],
        "error: ClusterPullSecret image not found in the manifests\nhint: use one of: images",
    );
    assert_eq!(host.names(), Vec::<String>::new(), "nothing was written");
}

#[test]
fn manifests_without_a_cluster_pull_secret_are_refused() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let config =
        "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n- {name: files, file: {directory: /x}}\n";
    std::fs::write(host.path("manifests.yaml"), config).unwrap();
    check(
        &host,
        &[],
        "error: there is no ClusterPullSecret in the manifests\nhint: add one, with `registries`",
    );
}

#[test]
fn placeholder_takes_the_namespace_of_the_flag() {
    let host = Host::new(&[("web", "one")]);
    let manifest = "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {name: images}\nspec:\n  registries:\n  - {host: ghcr.io, from: {store: files, key: \"{{namespace}}\"}}\n";
    std::fs::write(host.path("manifests.yaml"), manifest).unwrap();
    check(
        &host,
        &[],
        "error: store files, key {{namespace}} holds {{namespace}}, and no namespace is known\nhint: pass --namespace",
    );
    assert_eq!(host.once(&["--namespace", "web"]).code, 0);
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
}

#[test]
fn directory_must_exist_and_the_name_must_be_free() {
    let host = Host::new(&[("ghcr.io", "one")]);
    std::fs::create_dir(host.file()).unwrap();
    check(
        &host,
        &[],
        "error: docker/config.json is a directory\nhint: name the file in it, as in --output /docker/config.json",
    );
    std::fs::remove_dir_all(host.path("docker")).unwrap();
    check(
        &host,
        &[],
        "error: the directory docker does not exist\nhint: create the directory, or mount a volume there",
    );
}

#[test]
fn second_sidecar_of_a_file_is_refused() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = host.start(&[]);
    host.await_entries(&["ghcr.io=robot:one"]);
    check(
        &host,
        &[],
        "error: another regcred sidecar writes docker/config.json\nhint: stop the other one, or write another file",
    );
    assert_eq!(running.stop().0, 0);
    assert_eq!(host.once(&[]).code, 0);
}

#[test]
fn ignored_fields_are_reported_once() {
    let host = Host::new(&[("ghcr.io", "one")]);
    host.write_manifests(&["ghcr.io"], "  serviceAccounts: [\"*\"]\n  existing: Adopt\n");
    let ended = host.once(&[]);
    assert_eq!(ended.code, 0);
    let expect = "ignored, as a file has no use for it: ClusterPullSecret images: serviceAccounts, existing";
    assert_eq!(ended.stderr.matches(expect).count(), 1, "{}", ended.stderr);
}

#[test]
fn registries_that_no_form_expresses_are_reported_at_the_start() {
    let host = Host::new(&[("ghcr.io/a", "a"), ("ghcr.io/b", "b"), ("*.example.com", "c")]);
    let ended = host.once(&[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for expect in
        ["ghcr.io/a, ghcr.io/b: docker, BuildKit, crane,", "*.example.com: only the kubelet and k8schain"]
    {
        assert_eq!(ended.stderr.matches(expect).count(), 1, "{}", ended.stderr);
    }
    assert_eq!(host.entries().unwrap(), ["*.example.com=robot:c", "ghcr.io/a=robot:a", "ghcr.io/b=robot:b"]);
}
