//! What Prometheus would scrape.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn place() -> StoreKey {
    StoreKey { store: "vault".into(), key: "ci/ghcr".into() }
}

fn value() -> StoredValue {
    StoredValue { version: "7".into(), bytes: b"hunter2".to_vec().into(), expires_at: None, account: None }
}

/// The lines of one metric that are not 0, in the order of their labels.
fn scraped(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.encode();
    let is_of = |line: &&str| line.starts_with(name) && !line.ends_with(" 0");
    let mut lines: Vec<_> = text.lines().filter(is_of).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Metrics to which everything has happened once.
fn eventful() -> Metrics {
    let metrics = Metrics::new();
    metrics.triggered(Trigger::Webhook, TriggerOutcome::Woken);
    metrics.polled(&"vault".into(), Ok(PollOutcome::New));
    metrics.received("https://sqs.eu-west-1.amazonaws.com/1/q", Ok(()));
    metrics.fetched(&"vault".into(), Ok(&value()), Duration::from_millis(30));
    metrics.passed("images", PassOutcome::InSync);
    metrics.succeeded("images", Instant::now());
    metrics.wrote(WriteKind::Secret, WriteOutcome::Created);
    metrics.propagated(Trigger::Annotation, Duration::from_secs(3));
    metrics.ready("images", Some(true));
    metrics.targets("images", 998, 2);
    metrics.leading(true);
    metrics.queue(4, None);
    metrics.credential_expires(&place(), Some(Timestamp::from_second(1_800_000_000).unwrap()));
    metrics
}

#[test]
fn every_metric_is_registered_as_the_reference_tells_it() {
    let text = eventful().encode();
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
    assert_eq!(kinds.len(), reference::ALL.len(), "{text}");
    for description in &reference::ALL {
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
fn a_row_of_the_reference_names_the_values_of_closed_lists() {
    let reference = reference();
    for row in [
        "| `regcred_passes_total` | counter | `pull_secret`; `outcome`: `in_sync`, `out_of_sync`, `aborted` | ",
        "| `regcred_propagation_seconds` | histogram | `trigger`: `start`, `spec`, `annotation`, `sqs`, `webhook`, `poll`, `refresh`, `drift` | ",
        "| `regcred_leader` | gauge |  | ",
        "`outcome`: `Fetched`, `NotFound`, `Deleted`, `Denied`, ",
    ] {
        assert!(reference.contains(row), "{row} is not in\n{reference}");
    }
}

#[test]
fn the_text_ends_as_open_metrics_does() {
    assert!(Metrics::new().encode().ends_with("\n# EOF\n"));
}

#[test]
fn a_fetch_is_counted_by_its_outcome_and_the_others_stand_at_0() {
    let metrics = Metrics::new();
    let store = "vault".into();
    metrics.fetched(&store, Ok(&value()), Duration::from_millis(30));
    metrics.fetched(&store, Err(&provider::ErrorKind::Sealed.at(place())), Duration::from_secs(1));
    metrics.fetched(&store, Err(&provider::ErrorKind::Sealed.at(place())), Duration::from_secs(1));
    assert_eq!(
        scraped(&metrics, "regcred_fetches_total"),
        [
            r#"regcred_fetches_total{store="vault",outcome="Fetched"} 1"#,
            r#"regcred_fetches_total{store="vault",outcome="Sealed"} 2"#
        ]
    );
    let text = metrics.encode();
    assert!(text.contains(r#"regcred_fetches_total{store="vault",outcome="Denied"} 0"#), "{text}");
    assert!(text.contains(r#"regcred_fetch_seconds_bucket{le="0.05",store="vault"} 1"#), "{text}");
    assert!(text.contains(r#"regcred_fetch_seconds_count{store="vault"} 3"#), "{text}");
}

#[test]
fn a_poll_is_counted_by_its_outcome_and_the_others_stand_at_0() {
    let metrics = Metrics::new();
    let store = "vault".into();
    metrics.polled(&store, Ok(PollOutcome::Known));
    metrics.polled(&store, Ok(PollOutcome::New));
    metrics.polled(&store, Ok(PollOutcome::Known));
    metrics.polled(&store, Err(&provider::ErrorKind::Sealed.at(place())));
    assert_eq!(
        scraped(&metrics, "regcred_polls_total"),
        [
            r#"regcred_polls_total{store="vault",outcome="Known"} 2"#,
            r#"regcred_polls_total{store="vault",outcome="New"} 1"#,
            r#"regcred_polls_total{store="vault",outcome="Sealed"} 1"#
        ]
    );
    let denied = r#"regcred_polls_total{store="vault",outcome="Denied"} 0"#;
    assert!(metrics.encode().contains(denied));
}

#[test]
fn writes_are_there_from_the_beginning() {
    let text = Metrics::new().encode();
    let count = WriteKind::VARIANTS.len() * WriteOutcome::VARIANTS.len();
    assert_eq!(text.lines().filter(|line| line.starts_with("regcred_writes_total{")).count(), count);
    assert!(text.contains(r#"regcred_writes_total{kind="ServiceAccount",outcome="failed"} 0"#), "{text}");
}

#[test]
fn the_buckets_go_from_50_ms_to_10_min() {
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
async fn the_age_of_the_last_success_is_that_of_the_scrape() {
    let age = |metrics: &Metrics| scraped(metrics, "regcred_seconds_since_last_success");
    let metrics = Metrics::new();
    assert!(age(&metrics).is_empty());
    metrics.passed("images", PassOutcome::InSync);
    metrics.succeeded("images", Instant::now());
    tokio::time::advance(Duration::from_millis(1500)).await;
    assert_eq!(age(&metrics), [r#"regcred_seconds_since_last_success{pull_secret="images"} 1.5"#]);
    metrics.passed("images", PassOutcome::OutOfSync);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(age(&metrics), [r#"regcred_seconds_since_last_success{pull_secret="images"} 61.5"#]);
}

#[tokio::test(start_paused = true)]
async fn what_never_succeeded_ages_from_its_first_pass() {
    let metrics = Metrics::new();
    for _ in 0..2 {
        metrics.passed("images", PassOutcome::OutOfSync);
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    assert_eq!(
        scraped(&metrics, "regcred_seconds_since_last_success"),
        [r#"regcred_seconds_since_last_success{pull_secret="images"} 60.0"#]
    );
}

#[test]
fn one_that_nobody_wants_to_be_ready_is_neither_ready_nor_not() {
    let metrics = Metrics::new();
    let check = |is_ready, expect| {
        metrics.ready("images", is_ready);
        let text = metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(r#"regcred_ready{pull_secret="images"} "#));
        assert_eq!(line, expect);
    };
    check(Some(true), Some("1"));
    check(Some(false), Some("0"));
    check(None, None);
}

#[test]
fn a_pull_secret_that_is_gone_leaves_no_series() {
    let metrics = eventful();
    metrics.passed("others", PassOutcome::OutOfSync);
    metrics.targets("others", 0, 1);
    assert!(metrics.encode().contains("images"));
    metrics.forget("images");
    let text = metrics.encode();
    assert!(!text.contains("images"), "{text}");
    assert!(text.contains(r#"regcred_targets{pull_secret="others",state="out_of_sync"} 1"#), "{text}");
    assert!(text.contains(r#"regcred_seconds_since_last_success{pull_secret="others"}"#), "{text}");
    metrics.forget("never heard of");
}

#[test]
fn a_credential_that_no_longer_expires_leaves_no_series() {
    let metrics = eventful();
    let expiry = |metrics: &Metrics| scraped(metrics, "regcred_credential_expiry_timestamp_seconds");
    let line = r#"regcred_credential_expiry_timestamp_seconds{store="vault",key="ci/ghcr"} 1800000000"#;
    assert_eq!(expiry(&metrics), [line]);
    metrics.credential_expires(&place(), None);
    assert!(expiry(&metrics).is_empty());
}

#[test]
fn a_key_with_a_quote_stays_one_label() {
    let metrics = Metrics::new();
    let odd = StoreKey { store: "vault".into(), key: "ci/\"a\\\n".into() };
    metrics.credential_expires(&odd, Some(Timestamp::UNIX_EPOCH + Duration::from_secs(1)));
    assert_eq!(
        scraped(&metrics, "regcred_credential_expiry"),
        [r#"regcred_credential_expiry_timestamp_seconds{store="vault",key="ci/\"a\\\n"} 1"#]
    );
}

#[test]
fn gauges_say_what_they_were_told_last() {
    let metrics = eventful();
    assert_eq!(scraped(&metrics, "regcred_leader"), ["regcred_leader 1"]);
    assert_eq!(scraped(&metrics, "regcred_queue_depth"), ["regcred_queue_depth 4"]);
    metrics.leading(false);
    metrics.targets("images", 1000, 0);
    assert!(scraped(&metrics, "regcred_leader").is_empty());
    assert_eq!(
        scraped(&metrics, "regcred_targets"),
        [r#"regcred_targets{pull_secret="images",state="in_sync"} 1000"#]
    );
}
