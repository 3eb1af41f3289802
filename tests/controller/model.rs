//! What the cluster must look like, whatever happened before: a pure model of the rules of writing, made from the design
//! and not from the code.

use std::collections::{BTreeMap, BTreeSet};

/// Everything about the namespaces that regcred decides by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) password: String,
    /// The ServiceAccounts that the spec names.
    pub(crate) named: BTreeSet<String>,
    pub(crate) namespaces: BTreeMap<String, Namespace>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    pub(crate) selected: bool,
    /// Whether somebody else's Secret has the name.
    pub(crate) foreign: bool,
    /// The entries of others in each ServiceAccount that is there, in their order.
    pub(crate) accounts: BTreeMap<String, Vec<String>>,
}

/// A namespace as it is found, or as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) secret: Content,
    pub(crate) accounts: BTreeMap<String, Account>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    #[default]
    Absent,
    Foreign,
    /// Made by regcred, with this password.
    Ours(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The entries of others, in their order.
    pub(crate) others: Vec<String>,
    /// How often our entry is there.
    pub(crate) ours: usize,
}

impl Model {
    /// What the namespaces must come to.
    pub(crate) fn predict(&self) -> BTreeMap<String, View> {
        self.namespaces.iter().map(|(name, it)| (name.clone(), self.view(it))).collect()
    }

    fn view(&self, namespace: &Namespace) -> View {
        let is_served = namespace.selected && !namespace.foreign;
        let secret = match (namespace.foreign, is_served) {
            (true, _) => Content::Foreign,
            (false, true) => Content::Ours(self.password.clone()),
            (false, false) => Content::Absent,
        };
        let account = |(name, others): (&String, &Vec<String>)| {
            let ours = usize::from(is_served && self.named.contains(name));
            (name.clone(), Account { others: others.clone(), ours })
        };
        View { secret, accounts: namespace.accounts.iter().map(account).collect() }
    }

    /// How many are selected, and how many of these cannot be served.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let selected = self.namespaces.values().filter(|it| it.selected);
        (selected.clone().count(), selected.filter(|it| it.foreign).count())
    }
}

#[test]
fn the_model_says_what_the_rules_say() {
    let account = |others: &[&str]| others.iter().map(ToString::to_string).collect::<Vec<_>>();
    let accounts =
        BTreeMap::from([("default".to_owned(), account(&["own"])), ("other".to_owned(), account(&[]))]);
    let namespace = |selected, foreign| Namespace { selected, foreign, accounts: accounts.clone() };
    let namespaces = [(true, false), (true, true), (false, true), (false, false)];
    let model = Model {
        password: "pw".to_owned(),
        named: BTreeSet::from(["default".to_owned()]),
        namespaces: namespaces.iter().map(|it| (format!("{it:?}"), namespace(it.0, it.1))).collect(),
    };
    let found = model.predict();
    let secrets: Vec<_> = namespaces.iter().map(|it| found[&format!("{it:?}")].secret.clone()).collect();
    assert_eq!(
        secrets,
        [Content::Ours("pw".to_owned()), Content::Foreign, Content::Foreign, Content::Absent]
    );
    let ours: Vec<_> =
        namespaces.iter().map(|it| found[&format!("{it:?}")].accounts["default"].ours).collect();
    assert_eq!(ours, [1, 0, 0, 0]);
    assert_eq!(found["(true, false)"].accounts["other"], Account::default());
    assert_eq!(model.counts(), (2, 1));
}
