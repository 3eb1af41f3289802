//! What is news and what is not.

use super::*;
use crate::reconcile::fixture::{secret, service_account};

fn web(name: &str) -> ObjectRef {
    ("web".to_owned(), name.to_owned())
}

fn labels(value: &str) -> BTreeMap<String, String> {
    [("team".to_owned(), value.to_owned())].into()
}

fn namespace(value: &str, terminating: bool) -> Object {
    Object::Namespace { labels: labels(value), terminating }
}

/// Our Secret by its metadata.
fn seen(resource_version: &str) -> Secret {
    Secret { body: None, ..secret(resource_version, &[("ghcr.io", "1", "pw")]) }
}

fn entry(resource_version: &str, list: &[&str]) -> ServiceAccount {
    ServiceAccount { resource_version: resource_version.into(), ..service_account(list, &["regcred"]) }
}

/// A memory of one namespace, `web`, with our Secret and the entry, as we wrote them at 5 and 6.
fn memory() -> Cache {
    let mut memory = Cache::default();
    memory.there((String::new(), "web".into()), namespace("a", false));
    memory.begin("web");
    memory.wrote("web", &mut written());
    memory
}

/// What our writes left behind.
fn written() -> Applied {
    let secret = AfterWrite { before: String::new(), now: Some(secret("5", &[("ghcr.io", "1", "pw")])) };
    let account = AfterWrite { before: "3".into(), now: Some(entry("6", &["regcred"])) };
    Applied {
        reports: Vec::new(),
        secrets: [("regcred".to_owned(), secret)].into(),
        service_accounts: [("default".to_owned(), account)].into(),
        writes: Vec::new(),
        is_read: false,
    }
}

fn undone(news: News) -> Option<Vec<Thing>> {
    match news {
        News::Changed { undone, .. } => Some(undone),
        News::Known => None,
    }
}

fn our_entry() -> Thing {
    Thing::Entry { service_account: "default".into(), secret_name: "regcred".into() }
}

fn our_secret() -> Thing {
    Thing::Secret("regcred".into())
}

#[test]
fn the_echo_of_our_own_write_is_no_news() {
    let mut memory = memory();
    assert_eq!(memory.there(web("regcred"), Object::Secret(seen("5"))), News::Known);
    assert_eq!(memory.there(web("default"), Object::ServiceAccount(entry("6", &["regcred"]))), News::Known);
    // What came before it, and is told late, even less.
    assert_eq!(memory.there(web("default"), Object::ServiceAccount(entry("4", &[]))), News::Known);
    assert_eq!(memory.gone(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 3), News::Known);
    assert!(memory.cluster.namespaces["web"].secrets["regcred"].has_known_data());
}

#[test]
fn a_secret_that_was_edited_has_to_be_read_again() {
    let mut memory = memory();
    let news = memory.there(web("regcred"), Object::Secret(seen("9")));
    assert_eq!(undone(news), Some(Vec::new()), "whether it was undone is known when it was read");
    assert!(memory.cluster.namespaces["web"].secrets["regcred"].body.is_none());
}

#[test]
fn what_somebody_took_away_is_told() {
    let mut memory = memory();
    let news = memory.there(web("default"), Object::ServiceAccount(entry("9", &["own"])));
    assert_eq!(undone(news), Some(vec![our_entry()]));
    let news = memory.gone(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    assert_eq!(undone(news), Some(vec![our_secret()]));
    assert!(memory.cluster.namespaces["web"].secrets.is_empty());
}

#[test]
fn a_change_that_is_none_to_us_only_renews_the_precondition() {
    let mut memory = memory();
    let news = memory.there(web("default"), Object::ServiceAccount(entry("9", &["regcred"])));
    assert_eq!(news, News::Known);
    assert_eq!(memory.cluster.namespaces["web"].service_accounts["default"].resource_version, "9");
}

#[test]
fn labels_and_the_end_of_a_namespace_are_news_and_nothing_else_of_it_is() {
    let mut memory = memory();
    let address = || (String::new(), "web".to_owned());
    assert_eq!(memory.there(address(), namespace("a", false)), News::Known);
    assert_eq!(undone(memory.there(address(), namespace("b", false))), Some(Vec::new()));
    assert_eq!(undone(memory.there(address(), namespace("b", true))), Some(Vec::new()));
    assert!(
        memory.cluster.namespaces["web"].secrets["regcred"].has_known_data(),
        "what is in it stays known"
    );
}

#[test]
fn an_object_that_is_seen_before_its_namespace_is_kept_for_it() {
    let mut memory = Cache::default();
    memory.there(web("default"), Object::ServiceAccount(entry("3", &[])));
    assert!(memory.cluster.namespaces.is_empty());
    memory.there((String::new(), "web".into()), namespace("a", false));
    assert!(memory.cluster.namespaces["web"].service_accounts.contains_key("default"));
}

#[test]
fn what_a_list_does_not_have_any_more_is_gone() {
    let mut memory = memory();
    let subject = WatchedResource::Secrets("regcred".into());
    let kept = memory.listed(&subject, &[web("regcred")].into());
    assert!(kept.is_empty());
    let gone = memory.listed(&subject, &BTreeSet::new());
    assert_eq!(gone.into_iter().map(undone).collect::<Vec<_>>(), [Some(vec![our_secret()])]);
    memory.listed(&WatchedResource::Namespaces, &BTreeSet::new());
    assert!(memory.cluster.namespaces.is_empty());
}

#[test]
fn equal_docker_configs_are_one_copy_and_those_of_others_are_not_kept() {
    let mut memory = memory();
    memory.there((String::new(), "db".into()), namespace("a", false));
    let foreign = Secret { managed: false, ..secret("8", &[("ghcr.io", "1", "theirs")]) };
    memory.there(("db".to_owned(), "regcred".to_owned()), Object::Secret(seen("7")));
    memory.there(web("other"), Object::Secret(Secret { managed: false, ..seen("8") }));
    memory.read(vec![
        (("db".to_owned(), "regcred".to_owned()), secret("7", &[("ghcr.io", "1", "pw")])),
        (("web".to_owned(), "other".to_owned()), foreign),
        // Older than what we wrote since.
        (web("regcred"), secret("2", &[("ghcr.io", "1", "old")])),
    ]);
    let copy = |namespace: &str, name: &str| {
        memory.cluster.namespaces[namespace].secrets[name]
            .body
            .as_ref()
            .expect("a body")
            .docker_config
            .clone()
    };
    let (one, other) = (copy("web", "regcred").expect("bytes"), copy("db", "regcred").expect("bytes"));
    assert!(Arc::ptr_eq(&one, &other));
    assert!(copy("web", "other").is_none());
}

#[test]
fn what_was_deleted_while_we_wrote_stays_deleted() {
    let mut memory = memory();
    memory.begin("web");
    memory.gone(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    memory.gone(&WatchedResource::ServiceAccounts, &web("default"), 9);
    memory.wrote("web", &mut written());
    let namespace = &memory.cluster.namespaces["web"];
    assert!(namespace.secrets.is_empty() && namespace.service_accounts.is_empty());
    // The next time it is no matter any more.
    memory.begin("web");
    memory.wrote("web", &mut written());
    assert!(memory.cluster.namespaces["web"].secrets.contains_key("regcred"));
}

#[test]
fn a_secret_that_was_deleted_while_all_were_read_stays_deleted() {
    let mut memory = memory();
    memory.gone(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    assert!(memory.read(vec![(web("regcred"), secret("5", &[("ghcr.io", "1", "pw")]))]).is_empty());
    assert!(memory.cluster.namespaces["web"].secrets.is_empty());
}

#[test]
fn what_a_namespace_of_the_same_name_holds_is_not_lost_with_the_one_before() {
    let mut memory = memory();
    memory.there(web("builder"), Object::ServiceAccount(entry("30", &[])));
    memory.gone(&WatchedResource::Namespaces, &(String::new(), "web".into()), 20);
    memory.there((String::new(), "web".into()), namespace("a", false));
    let namespace = &memory.cluster.namespaces["web"];
    assert_eq!(namespace.service_accounts.keys().collect::<Vec<_>>(), ["builder"]);
    assert!(namespace.secrets.is_empty() && memory.strangers.is_empty());
}
