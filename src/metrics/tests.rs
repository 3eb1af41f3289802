//! The text that Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn key() -> StoreKey {
    StoreKey { store: "vault".into(), key: "ci/ghcr".into() }
}

/// The series of one metric that are not 0, ordered by their labels.
fn scraped(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.encode();
    let of_metric = text.lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0"));
    let mut lines: Vec<_> = of_metric.map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Metrics in which everything has happened once.
fn eventful() -> Metrics {
    let metrics = Metrics::new();
    metrics.triggered(Trigger::Webhook, TriggerOutcome::Accepted);
    metrics.polled(&"vault".into(), Ok(PollOutcome::New));
    metrics.received("https://sqs.eu-west-1.amazonaws.com/1/q", Ok(()));
    metrics.fetched(&"vault".into(), FetchedReason::Fetched, Duration::from_millis(30));
    metrics.reconciled("images", ReconciliationOutcome::InSync);
    metrics.succeeded("images", Instant::now());
    metrics.wrote(WriteKind::Secret, WriteOutcome::Created);
    metrics.propagated(Trigger::Annotation, Duration::from_secs(3));
    metrics.set_ready("images", Some(true));
    metrics.set_targets("images", 998, 2);
    metrics.set_leader(true);
    metrics.set_copies("images", 1);
    metrics.set_not_recorded(1);
    metrics.set_queue(4, None);
    metrics.set_credential_expiry(&key(), Some(Timestamp::from_second(1_800_000_000).unwrap()));
    metrics.set_poll_interval(&"vault".into(), Some(Duration::from_secs(50)));
    metrics
}

/// Metrics of a sidecar in which everything has happened once.
fn eventful_sidecar() -> Metrics {
    let metrics = Metrics::for_sidecar();
    metrics.polled(&"vault".into(), Ok(PollOutcome::New));
    metrics.fetched(&"vault".into(), FetchedReason::Fetched, Duration::from_millis(30));
    metrics.set_credential_expiry(&key(), Some(Timestamp::from_second(1_800_000_000).unwrap()));
    metrics.set_poll_interval(&"vault".into(), Some(Duration::from_secs(50)));
    metrics.set_config_file_stale(2);
    metrics.wrote_config_file(ConfigFileWrite::Updated);
    metrics
}

#[test]
fn registry_matches_the_reference() {
    check_registry(&eventful(), Process::Controller);
    check_registry(&eventful_sidecar(), Process::Sidecar);
}

#[track_caller]
fn check_registry(metrics: &Metrics, process: Process) {
    let text = metrics.encode();
    let expected: Vec<_> = reference::ALL.iter().filter(|it| it.is_of(process)).collect();
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let names = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let names = names.split(',').filter(|it| !it.is_empty()).map(|it| it.split_once('=').unwrap().0);
            labels.entry(name).or_default().extend(names.filter(|name| *name != "le"));
        }
    }
    assert_eq!(kinds.len(), expected.len(), "{text}");
    for description in expected {
        let registered = format!("{PREFIX}_{}", description.registered_name());
        assert_eq!(kinds[registered.as_str()], description.kind.to_string(), "{registered}");
        let sample = match description.kind {
            reference::Kind::Histogram => format!("{PREFIX}_{}_count", description.name),
            reference::Kind::Counter | reference::Kind::Gauge => format!("{PREFIX}_{}", description.name),
        };
        let expect: BTreeSet<_> = description.labels.iter().map(|label| label.name).collect();
        assert_eq!(labels[sample.as_str()], expect, "{sample}");
        assert!(text.contains(&format!("# HELP {registered} {}.\n", description.meaning)), "{registered}");
    }
}

#[test]
fn reference_lists_the_label_values() {
    let reference = reference();
    for row in [
        "| `regcred_reconciliations_total` | counter | `cluster_pull_secret`; `outcome`: `in_sync`, `out_of_sync` | ",
        "| `regcred_propagation_seconds` | histogram | `trigger`: `start`, `spec`, `annotation`, `sqs`, `webhook`, `poll`, `refresh`, `drift` | ",
        "| `regcred_leader` | gauge |  | ",
        "`outcome`: `fetched`, `not_found`, `deleted`, `denied`, ",
    ] {
        assert!(reference.contains(row), "{row} is not in\n{reference}");
    }
}

#[test]
fn text_ends_with_the_open_metrics_marker() {
    assert!(Metrics::new().encode().ends_with("\n# EOF\n"));
}

#[test]
fn fetch_is_counted_and_other_outcomes_start_at_0() {
    let metrics = Metrics::new();
    let store = "vault".into();
    metrics.fetched(&store, FetchedReason::Fetched, Duration::from_millis(30));
    metrics.fetched(&store, FetchedReason::Sealed, Duration::from_secs(1));
    metrics.fetched(&store, FetchedReason::Sealed, Duration::from_secs(1));
    assert_eq!(
        scraped(&metrics, "regcred_fetches_total"),
        [
            r#"regcred_fetches_total{store="vault",outcome="fetched"} 1"#,
            r#"regcred_fetches_total{store="vault",outcome="sealed"} 2"#
        ]
    );
    let text = metrics.encode();
    assert!(text.contains(r#"regcred_fetches_total{store="vault",outcome="denied"} 0"#), "{text}");
    assert!(text.contains(r#"regcred_fetch_seconds_bucket{le="0.05",store="vault"} 1"#), "{text}");
    assert!(text.contains(r#"regcred_fetch_seconds_count{store="vault"} 3"#), "{text}");
}

#[test]
fn poll_is_counted_and_other_outcomes_start_at_0() {
    let metrics = Metrics::new();
    let store = "vault".into();
    metrics.polled(&store, Ok(PollOutcome::Known));
    metrics.polled(&store, Ok(PollOutcome::New));
    metrics.polled(&store, Ok(PollOutcome::Known));
    metrics.polled(&store, Err(&provider::ErrorKind::Sealed(provider::SealedPart::Vault).at(key())));
    assert_eq!(
        scraped(&metrics, "regcred_polls_total"),
        [
            r#"regcred_polls_total{store="vault",outcome="known"} 2"#,
            r#"regcred_polls_total{store="vault",outcome="new"} 1"#,
            r#"regcred_polls_total{store="vault",outcome="sealed"} 1"#
        ]
    );
    let denied = r#"regcred_polls_total{store="vault",outcome="denied"} 0"#;
    assert!(metrics.encode().contains(denied));
}

#[test]
fn writes_start_at_0() {
    let text = Metrics::new().encode();
    let count = WriteKind::VARIANTS.len() * WriteOutcome::VARIANTS.len();
    assert_eq!(text.lines().filter(|line| line.starts_with("regcred_writes_total{")).count(), count);
    assert!(text.contains(r#"regcred_writes_total{kind="service_account",outcome="failed"} 0"#), "{text}");
}

#[test]
fn buckets_range_from_50_ms_to_10_min() {
    let metrics = Metrics::new();
    metrics.propagated(Trigger::Start, Duration::from_millis(50));
    metrics.propagated(Trigger::Start, Duration::from_mins(10));
    metrics.propagated(Trigger::Start, Duration::from_mins(11));
    let text = metrics.encode();
    for (le, count) in [("0.05", 1), ("600.0", 2), ("+Inf", 3)] {
        let line = format!(r#"regcred_propagation_seconds_bucket{{le="{le}",trigger="start"}} {count}"#);
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn last_success_age_is_computed_at_the_scrape() {
    const AGE: &str = "regcred_seconds_since_last_success";
    let metrics = Metrics::new();
    assert!(scraped(&metrics, AGE).is_empty());
    metrics.reconciled("images", ReconciliationOutcome::InSync);
    metrics.succeeded("images", Instant::now());
    tokio::time::advance(Duration::from_millis(1500)).await;
    assert_eq!(
        scraped(&metrics, AGE),
        [r#"regcred_seconds_since_last_success{cluster_pull_secret="images"} 1.5"#]
    );
    metrics.reconciled("images", ReconciliationOutcome::OutOfSync);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(
        scraped(&metrics, AGE),
        [r#"regcred_seconds_since_last_success{cluster_pull_secret="images"} 61.5"#]
    );
}

#[tokio::test(start_paused = true)]
async fn last_success_age_counts_from_the_first_reconciliation() {
    let metrics = Metrics::new();
    for _ in 0..2 {
        metrics.reconciled("images", ReconciliationOutcome::OutOfSync);
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    assert_eq!(
        scraped(&metrics, "regcred_seconds_since_last_success"),
        [r#"regcred_seconds_since_last_success{cluster_pull_secret="images"} 60.0"#]
    );
}

#[test]
fn suspended_object_has_no_ready_series() {
    let metrics = Metrics::new();
    for (is_ready, expect) in [(Some(true), Some("1")), (Some(false), Some("0")), (None, None)] {
        metrics.set_ready("images", is_ready);
        let text = metrics.encode();
        let series = r#"regcred_ready{cluster_pull_secret="images"} "#;
        assert_eq!(text.lines().find_map(|line| line.strip_prefix(series)), expect);
    }
}

#[test]
fn deleted_object_leaves_no_series() {
    let metrics = eventful();
    metrics.reconciled("others", ReconciliationOutcome::OutOfSync);
    metrics.set_targets("others", 0, 1);
    assert!(metrics.encode().contains("images"));
    metrics.forget("images");
    let text = metrics.encode();
    assert!(!text.contains("images"), "{text}");
    assert!(
        text.contains(r#"regcred_targets{cluster_pull_secret="others",state="out_of_sync"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"regcred_seconds_since_last_success{cluster_pull_secret="others"}"#), "{text}");
    metrics.forget("unknown");
}

#[test]
fn credential_without_expiry_leaves_no_series() {
    let metrics = eventful();
    let line = r#"regcred_credential_expiry_timestamp_seconds{store="vault",key="ci/ghcr"} 1800000000"#;
    assert_eq!(scraped(&metrics, "regcred_credential_expiry"), [line]);
    metrics.set_credential_expiry(&key(), None);
    assert!(scraped(&metrics, "regcred_credential_expiry").is_empty());
}

#[test]
fn key_with_a_quote_stays_one_label() {
    let metrics = Metrics::new();
    let odd = StoreKey { store: "vault".into(), key: "ci/\"a\\\n".into() };
    metrics.set_credential_expiry(&odd, Some(Timestamp::UNIX_EPOCH + Duration::from_secs(1)));
    assert_eq!(
        scraped(&metrics, "regcred_credential_expiry"),
        [r#"regcred_credential_expiry_timestamp_seconds{store="vault",key="ci/\"a\\\n"} 1"#]
    );
}

#[test]
fn gauges_show_their_last_value() {
    let metrics = eventful();
    assert_eq!(scraped(&metrics, "regcred_leader"), ["regcred_leader 1"]);
    assert_eq!(scraped(&metrics, "regcred_queue_depth"), ["regcred_queue_depth 4"]);
    metrics.set_leader(false);
    metrics.set_targets("images", 1000, 0);
    assert!(scraped(&metrics, "regcred_leader").is_empty());
    assert_eq!(
        scraped(&metrics, "regcred_targets"),
        [r#"regcred_targets{cluster_pull_secret="images",state="in_sync"} 1000"#]
    );
}
