//! The required state of the cluster after any history: a pure model of the rules of writing, derived from the design and
//! not from the code.

use std::collections::{BTreeMap, BTreeSet};

/// The facts about the namespaces that determine regcred's writes.
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
    /// True if a foreign Secret has the name.
    pub(crate) foreign: bool,
    /// The entries of other tools in each existing ServiceAccount, in their order.
    pub(crate) accounts: BTreeMap<String, Vec<String>>,
}

/// The observed or required state of a namespace.
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
    /// Created by regcred, with this password.
    Managed(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The entries of other tools, in their order.
    pub(crate) others: Vec<String>,
    /// The number of regcred's entries.
    pub(crate) own: usize,
}

impl Model {
    /// The required state of each namespace.
    pub(crate) fn predict(&self) -> BTreeMap<String, View> {
        self.namespaces.iter().map(|(name, it)| (name.clone(), self.view(it))).collect()
    }

    fn view(&self, namespace: &Namespace) -> View {
        let is_served = namespace.selected && !namespace.foreign;
        let secret = match (namespace.foreign, is_served) {
            (true, _) => Content::Foreign,
            (false, true) => Content::Managed(self.password.clone()),
            (false, false) => Content::Absent,
        };
        let accounts = namespace.accounts.iter().map(|(name, others)| {
            let own = usize::from(is_served && self.named.contains(name));
            (name.clone(), Account { others: others.clone(), own })
        });
        View { secret, accounts: accounts.collect() }
    }

    /// The number of selected namespaces, and of those among them that cannot be synced.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let selected = self.namespaces.values().filter(|it| it.selected);
        (selected.clone().count(), selected.filter(|it| it.foreign).count())
    }
}

#[test]
fn model_predicts_what_the_rules_say() {
    let accounts =
        BTreeMap::from([("default".to_owned(), vec!["other".to_owned()]), ("other".to_owned(), Vec::new())]);
    let namespaces = [(true, false), (true, true), (false, true), (false, false)];
    let model = Model {
        password: "pw".to_owned(),
        named: BTreeSet::from(["default".to_owned()]),
        namespaces: namespaces
            .iter()
            .map(|it| {
                (format!("{it:?}"), Namespace { selected: it.0, foreign: it.1, accounts: accounts.clone() })
            })
            .collect(),
    };
    let predicted = model.predict();
    let secrets: Vec<_> = namespaces.iter().map(|it| predicted[&format!("{it:?}")].secret.clone()).collect();
    assert_eq!(
        secrets,
        [Content::Managed("pw".to_owned()), Content::Foreign, Content::Foreign, Content::Absent]
    );
    let own: Vec<_> =
        namespaces.iter().map(|it| predicted[&format!("{it:?}")].accounts["default"].own).collect();
    assert_eq!(own, [1, 0, 0, 0]);
    assert_eq!(predicted["(true, false)"].accounts["other"], Account::default());
    assert_eq!(model.counts(), (2, 1));
}
