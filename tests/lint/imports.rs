//! The import graph of the program: files by what they use of each other.
//!
//! A module and its own submodules count as one place: a parent names its children and they name it.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::Measure;
use crate::source::File;

/// The segments of a module's path below the crate, `["trigger", "sqs"]`.
type Module = Vec<String>;

/// The paths that one file uses outside its tests, from the root of the crate.
struct Paths<'a> {
    module: &'a Module,
    found: Vec<Module>,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(|it| it.path().is_ident("cfg")) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

impl Paths<'_> {
    fn add_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Name(name) => self.add_leaf(before, name.ident.to_string()),
            syn::UseTree::Rename(rename) => self.add_leaf(before, rename.ident.to_string()),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }

    fn add_leaf(&mut self, before: &[String], leaf: String) {
        self.add(&[before, &[leaf]].concat());
    }

    fn add(&mut self, path: &[String]) {
        let mut segments = path.iter().map(String::as_str).peekable();
        let mut base = match segments.peek() {
            Some(&"crate") => Vec::new(),
            Some(&"self" | &"super") => self.module.clone(),
            _ => return,
        };
        for segment in segments {
            match segment {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            }
        }
        self.found.push(base);
    }
}

fn module_of(path: &str) -> Option<Module> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    (path != "lib" && path != "main").then(|| path.split('/').map(str::to_owned).collect())
}

/// Each module with the modules that it uses, tests left out.
fn graph(files: &[File]) -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = files.iter().filter(|file| !file.is_unit_test());
    let modules: BTreeMap<Module, &File> =
        sources.filter_map(|file| Some((module_of(&file.path)?, file))).collect();
    let mut graph = BTreeMap::new();
    for (module, file) in &modules {
        let mut paths = Paths { module, found: Vec::new() };
        paths.visit_file(&file.syntax);
        let used = paths.found.iter().filter_map(|path| {
            // The longest part of the path that is a module; the rest are its items.
            (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|it| modules.contains_key(it))
        });
        let used = used.filter(|it| !it.starts_with(module) && !module.starts_with(it)).collect();
        graph.insert(module.clone(), used);
    }
    graph
}

fn reachable(graph: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for used in graph.get(module).into_iter().flatten() {
            if found.insert(used.clone()) {
                next.push(used);
            }
        }
    }
    found
}

/// Files that import themselves by way of others.
pub(crate) fn cycles(files: &[File]) -> Measure {
    let graph = graph(files);
    let reaches: BTreeMap<_, _> = graph.keys().map(|module| (module, reachable(&graph, module))).collect();
    let in_cycle = graph.keys().filter(|module| reaches[module].contains(*module));
    let describe = |module: &Module| {
        let others =
            reaches[module].iter().filter(|it| reaches.get(it).is_some_and(|back| back.contains(module)));
        let uses = others.filter(|it| graph[module].contains(*it)).map(|it| it.join("::"));
        format!("{} uses {}", module.join("::"), uses.collect::<Vec<_>>().join(", "))
    };
    Measure::places("files in an import cycle", 0.0, in_cycle.map(describe).collect())
}

/// Top-level modules that import each other.
pub(crate) fn mutual_pairs(files: &[File]) -> Measure {
    let mut pairs: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (module, used) in graph(files) {
        for target in used.iter().filter(|it| it[0] != module[0]) {
            let edge = format!("{} -> {}", module.join("::"), target.join("::"));
            pairs.entry((module[0].clone(), target[0].clone())).or_default().push(edge);
        }
    }
    let mutual = pairs.iter().filter(|((a, b), _)| a < b && pairs.contains_key(&(b.clone(), a.clone())));
    let places = mutual.map(|((a, b), edges)| {
        let back = &pairs[&(b.clone(), a.clone())];
        format!("{a} and {b}: {}; {}", edges.join(", "), back.join(", "))
    });
    Measure::places("top-level modules that import each other", 0.0, places.collect())
}
