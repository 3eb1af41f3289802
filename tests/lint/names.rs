//! Measures of names.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Measure;
use crate::source::File;

/// Words that an engineer of this field searches for. At least 16 of these 20 have to be in a file or type name.
const VOCABULARY: [&str; 20] = [
    "reconcile",
    "prune",
    "cache",
    "leader election",
    "requeue",
    "tombstone",
    "rate limit",
    "ack",
    "orphan",
    "synced",
    "in flight",
    "validate",
    "finalizer",
    "auth",
    "backoff",
    "retry",
    "queue",
    "scheduler",
    "handler",
    "health",
];

/// The most characters that a test name may have.
const LONGEST_TEST_NAME: usize = 60;

/// Every definition of one file that a measure looks at.
#[derive(Default)]
struct Definitions {
    types: Vec<String>,
    variants: Vec<String>,
    functions: Vec<(String, usize)>,
    tests: Vec<(String, usize)>,
    closures: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Definitions {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.types.push(item.ident.to_string());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.types.push(item.ident.to_string());
        self.variants.extend(item.variants.iter().map(|variant| variant.ident.to_string()));
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.types.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.types.push(item.ident.to_string());
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let named = (item.sig.ident.to_string(), item.sig.ident.span().start().line);
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
        };
        if item.attrs.iter().any(is_test) {
            self.tests.push(named);
        } else {
            self.functions.push(named);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.functions.push((item.sig.ident.to_string(), item.sig.ident.span().start().line));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.functions.push((item.sig.ident.to_string(), item.sig.ident.span().start().line));
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let (syn::Pat::Ident(name), Some(init)) = (&local.pat, &local.init)
            && matches!(*init.expr, syn::Expr::Closure(_))
        {
            self.closures.push((name.ident.to_string(), local.span().start().line));
        }
        visit::visit_local(self, local);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        // The body of `proptest!` holds tests that are tokens to the parser.
        let tokens = item.mac.tokens.to_string();
        let names = tokens.split("# [test] fn ").skip(1).filter_map(|rest| rest.split([' ', '(']).next());
        self.tests.extend(names.map(|name| (name.to_owned(), item.span().start().line)));
    }
}

fn definitions(file: &File) -> Definitions {
    let mut found = Definitions::default();
    found.visit_file(&file.syntax);
    found
}

fn place(file: &File, (name, line): (String, usize)) -> String {
    format!("{}:{line}: {name}", file.path)
}

/// Type names that more than one file of the program defines.
pub(crate) fn types_defined_twice(files: &[File]) -> Measure {
    let mut defined: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files {
        for name in definitions(file).types {
            defined.entry(name).or_default().push(&file.path);
        }
    }
    let twice = defined.into_iter().filter(|(_, paths)| paths.len() > 1);
    let places = twice.map(|(name, paths)| format!("{name}: {}", paths.join(", "))).collect();
    Measure::places("type names defined twice or more", 10.0, places)
}

/// Constructors named `of` or `of_…`; `new`, `from_…` or `From` say what they are.
pub(crate) fn functions_named_of(files: &[File]) -> Measure {
    let named_of = |(name, _): &(String, usize)| name == "of" || name.starts_with("of_");
    let found = files.iter().flat_map(|file| {
        definitions(file).functions.into_iter().filter(named_of).map(|function| place(file, function))
    });
    Measure::places("functions named of or of_…", 0.0, found.collect())
}

/// Closures with a name, for each thousand lines; a function states its types.
pub(crate) fn named_closures(files: &[File]) -> Measure {
    let lines = files.iter().map(|file| file.text.lines().count()).sum();
    let found = files
        .iter()
        .flat_map(|file| definitions(file).closures.into_iter().map(|closure| place(file, closure)));
    Measure::share("named closures per 1,000 lines", 1.0, 1000.0, lines, found.collect())
}

/// Test names that are too long or open with an article.
pub(crate) fn bad_test_names(files: &[File]) -> Measure {
    let is_bad = |(name, _): &(String, usize)| {
        name.len() > LONGEST_TEST_NAME
            || ["a_", "an_", "the_"].iter().any(|article| name.starts_with(article))
    };
    let found = files
        .iter()
        .flat_map(|file| definitions(file).tests.into_iter().filter(is_bad).map(|test| place(file, test)));
    Measure::places("test names over 60 characters or with an article first", 0.0, found.collect())
}

/// Words of the field's vocabulary that no file and no type of the program has in its name.
pub(crate) fn missing_vocabulary(files: &[File]) -> Measure {
    let mut names = String::new();
    for file in files {
        let found = definitions(file);
        names.push_str(&file.path);
        for name in found.types.iter().chain(&found.variants) {
            names.push(' ');
            names.push_str(name);
        }
        names.push('\n');
    }
    let names = names.to_lowercase().replace('_', "");
    let is_missing = |word: &&&str| !names.contains(&word.replace(' ', ""));
    let missing = VOCABULARY.iter().filter(is_missing).map(|word| (*word).to_owned()).collect();
    Measure::places("words of the field that no file or type has in its name, of 20", 4.0, missing)
}
