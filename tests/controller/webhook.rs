//! Others tell of a change by `POST /v1/rotate`: it is everywhere within a second, whichever replica they ask, and who has
//! no key costs nothing.

mod hook;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::hook::{Hook, KEY, TOKEN, signature};
use crate::stage::{PULL_SECRETS, REPLICAS, Stage, until};

const CROWD: usize = 100;
/// From a request to the last write of a target, beyond what the writes take.
const BEYOND: Duration = Duration::from_secs(1);
/// How many bad requests, and how many of them at once.
const FLOOD: usize = 10_000;
const AT_ONCE: usize = 50;
/// How many keep a connection without an end to what they send, and come back when they are cut.
const DAWDLERS: usize = 500;
/// What somebody sends who means no good.
const SENTINEL: &str = "hunter2";
/// How much the memory of a process may vary by itself; a kibibyte of each bad request would be ten mebibytes.
const FLAT: u64 = 6 * 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "the edge of this process is this test")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn woken(name: &str) -> (u16, String) {
    (202, json!({"clusterPullSecrets": [name]}).to_string())
}

/// What is in a request is in no line of the log.
#[track_caller]
fn assert_silent(hook: &Hook, more: &[&str]) {
    let log = hook.controller.log();
    assert!(log.contains("DEBUG"), "there is a log to search");
    for secret in [TOKEN, KEY, SENTINEL].iter().chain(more) {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

impl Stage {
    /// A password that is served by a controller with a webhook.
    async fn serve_with_hook(&self, password: &str) -> Hook {
        self.put_password(password).await;
        self.apply(&self.cluster_pull_secret(self.name)).await;
        // Whatever is said at any level is searched.
        let hook = Hook::start(self, self.controller().with(&["-vvv"]), "").await;
        self.until_served(password).await;
        hook
    }

    fn place(&self) -> String {
        json!({"store": "vault", "key": self.key("ghcr")}).to_string()
    }
}

#[tokio::test]
async fn a_rotation_is_everywhere_within_a_second_beyond_the_writes() {
    let stage = Stage::with_crowd("hook", CROWD).await;
    let hook = stage.serve_with_hook("one").await;
    stage.until_quiet().await;
    stage.put_password("two").await;
    let (mark, vault_mark, asked) = (stage.mark(), stage.vault_mark(), now());
    assert_eq!(hook.ask(&stage.place()).await, woken("hook"));
    stage.until_served("two").await;

    assert_eq!(stage.reads("ghcr", vault_mark), 1);
    let beyond = stage.delay_beyond_writes(mark, asked).await;
    assert!(beyond < BEYOND, "{beyond:?}");
    until("the trigger is told", async || stage.status("hook").await["lastRotation"]["trigger"] == "Webhook")
        .await;
    assert_eq!(hook.counted("accepted").await, 1);
}

#[tokio::test]
async fn a_request_to_a_follower_is_stored_for_the_leader() {
    let stage = Stage::new("hook-follower", 3).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let leader = Hook::start(&stage, stage.controller().replica(REPLICAS[0]), "").await;
    until("a leader", async || leader.controller.leads().await).await;
    let follower = Hook::start(&stage, stage.controller().replica(REPLICAS[1]), "").await;
    stage.until_served("one").await;
    assert!(!follower.controller.leads().await);

    stage.put_password("two").await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
    assert_eq!(follower.ask(&stage.place()).await, woken(stage.name));
    let object = stage.pull_secret_object(stage.name).await.expect("a ClusterPullSecret");
    let request = object["metadata"]["annotations"]["regcred.dev/request"].as_str().expect("a request");
    assert!(request.starts_with(r#"{"at":"2"#), "it is stored when it is answered: {request}");
    stage.until_served("two").await;
    assert_eq!(stage.reads("ghcr", vault_mark), 1, "by the leader alone");
    until("the trigger is told", async || {
        stage.status(stage.name).await["lastRotation"]["trigger"] == "Webhook"
    })
    .await;
    let told = stage.status(stage.name).await["observedRequest"].as_str().map(str::to_owned);
    assert!(told.is_some_and(|at| request.contains(&at)), "whoever leads next knows that it is answered");
    let requests = stage.requests_as(REPLICAS[1], mark).await;
    let writes: Vec<_> = requests.iter().filter(|it| it.is_write()).map(crate::stage::line).collect();
    assert_eq!(writes, [format!("patch clusterpullsecrets {} 200", stage.name)]);
}

#[tokio::test]
async fn who_signs_the_time_and_the_body_is_heard_once() {
    let stage = Stage::new("hook-hmac", 1).await;
    let hook = stage.serve_with_hook("one").await;
    let body = json!({"clusterPullSecret": stage.name}).to_string();
    let at = now().as_second();
    let signed = signature(KEY, at, &body);
    assert_eq!(hook.ask_signed(at, &signed, &body).await, woken(stage.name));
    assert_eq!(hook.ask_signed(at, &signed, &body).await.0, 401, "a replay");
    assert_eq!(hook.ask_signed(at + 1, &signed, &body).await.0, 401, "another time");
    assert_eq!(hook.ask_signed(at, &signed, "").await.0, 401, "another body");
    for off in [-310, 310] {
        let signed = signature(KEY, at + off, &body);
        assert_eq!(hook.ask_signed(at + off, &signed, &body).await.0, 401, "{off} s off");
    }
    assert_eq!((hook.counted("accepted").await, hook.counted("rejected").await), (1, 5));
    let log = hook.controller.log();
    for cause in ["signature already used", "signature made by no key", "both clocks"] {
        assert_eq!(log.matches(cause).count(), 1, "{cause}: {log}");
    }

    // A new key beside the old one, and then without it.
    let count = AtomicI64::new(0);
    let ask = async |key: &str| {
        // Each is signed at another time, for none is taken twice.
        let at = now().as_second() - count.fetch_add(1, Ordering::Relaxed) % 250;
        hook.ask_signed(at, &signature(key, at, SENTINEL), SENTINEL).await.0
    };
    hook.write("keys", &format!("{KEY}\nanother-key-of-the-stage\n"));
    until("the new key is taken", async || ask("another-key-of-the-stage").await == 400).await;
    assert_eq!(ask(KEY).await, 400, "beside the old one");
    hook.write("keys", "another-key-of-the-stage\n");
    until("the old key is gone", async || ask(KEY).await == 401).await;
    assert_silent(&hook, &[&signed, "another-key-of-the-stage"]);
}

/// The commands in the guide to the webhook, a block at a time.
fn commands() -> Vec<String> {
    let page = world::docs::page("docs/guides/webhook.md");
    world::docs::blocks(&page, "sh").into_iter().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn documented_requests_are_accepted() {
    let stage = Stage::new("hook-docs", 1).await;
    let hook = stage.serve_with_hook("one").await;
    let [keys, token, signature] = commands().try_into().expect("keys, a token and a signature");
    let address = |command: &str| {
        let command =
            command.replace("https://regcred.regcred-system:8081", &format!("http://{}", hook.address));
        command.replace("\"images\"", &format!("{:?}", stage.name)).replace("ci/ghcr", &stage.key("ghcr"))
    };
    let (keys, _) = keys.split_once("kubectl").expect("what becomes of the files");
    // They are the files that the controller reads.
    assert_eq!(hook.shell(keys).await, "");
    until("the old token is gone", async || hook.ask("").await.0 == 401).await;
    for command in [token, signature] {
        assert_eq!(hook.shell(&address(&command)).await, woken(stage.name).1, "{command}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_requests_wakes_nobody_and_leaves_nothing_behind() {
    let stage = Stage::new("hook-flood", 1).await;
    let hook = stage.serve_with_hook("one").await;
    hook.flood(FLOOD / 10, AT_ONCE).await;
    let (before, place, mut good) = (hook.resident(), stage.place(), 0);
    for _ in 0..10 {
        let ((), (status, _)) = tokio::join!(hook.flood(FLOOD / 10, AT_ONCE), hook.ask(&place));
        assert_eq!(status, 202, "in the middle of it");
        good += 1;
    }
    let after = hook.resident();
    assert!(after < before + FLAT, "{before} bytes before, {after} after");
    assert_eq!(hook.counted("accepted").await, good);
    assert_eq!(hook.counted("ignored").await + hook.counted("invalid").await, 0);
    assert_eq!(hook.counted("rejected").await, FLOOD + FLOOD / 10);
    let lines = hook.controller.lines();
    let is_told = |line: &&Value| line["level"] == "WARN" && line["requests"].is_u64();
    for cause in ["no bearer token and no signature", "bearer token not found", "signature made by no key"] {
        let told = lines.iter().filter(is_told).filter(|line| line.to_string().contains(cause)).count();
        assert!((1..5).contains(&told), "{cause}: once a minute, not {told} times");
    }
    assert_silent(&hook, &[]);
}

#[tokio::test]
async fn whoever_dawdles_keeps_nobody_from_being_heard() {
    let stage = Stage::new("hook-loris", 1).await;
    let hook = stage.serve_with_hook("one").await;
    let mut dawdlers = JoinSet::new();
    for n in 0..DAWDLERS {
        let address = hook.address.clone();
        dawdlers.spawn(async move {
            loop {
                hook::dawdle(&address, n, now().as_second()).await;
            }
        });
    }
    // By then each place is taken by one of them.
    until("the first of them are cut", async || hook.connections() > DAWDLERS / 2).await;
    let place = stage.place();
    for _ in 0..5 {
        // Where the machine is slow a request may be taken for one that dawdles, and whoever sent it tries again.
        until("it is heard", async || hook.try_to_ask(&place).await == Some(woken(stage.name))).await;
    }
    assert!(hook.counted("accepted").await >= 5);
}

#[tokio::test]
async fn a_certificate_is_replaced_while_it_runs() {
    let stage = Stage::new("hook-tls", 1).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let pairs =
        ["one", "two"].map(|_| generate_simple_self_signed(["localhost".to_owned()]).expect("a pair"));
    let [old, new] = &pairs;
    hook::write(&stage, "tls.crt", &old.cert.pem());
    hook::write(&stage, "tls.key", &old.signing_key.serialize_pem());
    let files = format!(
        ", tls: {{certificateFile: {}, keyFile: {}}}",
        hook::path(&stage, "tls.crt").display(),
        hook::path(&stage, "tls.key").display()
    );
    let hook = Hook::start(&stage, stage.controller(), &files).await;
    stage.until_served("one").await;
    assert_eq!(hook.ask_over_tls(&old.cert.pem(), &stage.place()).await, Some(woken(stage.name)));
    assert_eq!(hook.ask_over_tls(&new.cert.pem(), "").await, None, "nobody knows this one yet");
    hook.write("tls.crt", &new.cert.pem());
    hook.write("tls.key", &new.signing_key.serialize_pem());
    until("the new certificate", async || {
        hook.ask_over_tls(&new.cert.pem(), &stage.place()).await == Some(woken(stage.name))
    })
    .await;
    assert_eq!(hook.ask_over_tls(&old.cert.pem(), "").await, None);
}

#[tokio::test]
async fn what_cannot_be_served_keeps_it_from_starting_and_says_why() {
    let stage = Stage::new("hook-broken", 0).await;
    let files = ", tls: {certificateFile: /nowhere/tls.crt, keyFile: /nowhere/tls.key}";
    let hook = Hook::begin(&stage, stage.controller(), files).await;
    assert_eq!(hook.controller.end().await, Some(1));
    let log = hook.controller.log();
    assert!(log.contains("cannot read /nowhere/tls.crt: no such file"), "{log}");

    hook::write(&stage, "tokens", &format!("{TOKEN}\n{SENTINEL}\n"));
    let hook = Hook::begin(&stage, stage.controller(), "").await;
    assert_eq!(hook.controller.end().await, Some(1));
    let (log, tokens) = (hook.controller.log(), hook::path(&stage, "tokens"));
    assert!(log.contains(&format!("key on line 2 of {} is too short", tokens.display())), "{log}");
    assert!(!log.contains(SENTINEL), "{log}");
    hook.write("tokens", TOKEN);

    // Keys may come later: nobody may ask until then.
    let hook = stage.serve_with_hook("one").await;
    std::fs::remove_file(hook::path(&stage, "tokens")).expect("the file goes");
    until("the token is gone", async || hook.ask("").await.0 == 401).await;
    hook.write("tokens", TOKEN);
    until("the token is back", async || hook.ask("").await.0 == 202).await;
    // One that can be guessed is passed over, and what is gone is gone.
    hook.write("tokens", &format!("{SENTINEL}\n{TOKEN}\n"));
    let told = format!("key on line 1 of {} is too short", tokens.display());
    until("it is told", async || {
        hook.ask("").await;
        hook.controller.log().contains(&told)
    })
    .await;
    assert_ne!(hook.ask("").await.0, 401, "beside it");
    hook.write("tokens", SENTINEL);
    until("the token is gone", async || hook.ask("").await.0 == 401).await;
    assert_silent(&hook, &[]);
    assert!(stage.kube.get(&format!("{PULL_SECRETS}/{}", stage.name)).await.is_ok());
}
