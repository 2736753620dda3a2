//! Modules of a crate form no circle: reading one never leads back to it.
//!
//! A module is a file. An edge is a path in a `use`, an expression, a type or a macro's tokens that
//! names another module of the same crate; a name that the other module only re-exports is followed
//! to the module that declares it. Declaring a child (`mod child;`) and re-exporting from it
//! (`pub use child::Name`) are not edges, so a folder's file may be its table of contents; a call
//! into a child that uses its parent is a circle.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::rust_source::{RustSource, crate_path};

/// Path of a module inside its crate; the root is empty.
type ModulePath = Vec<String>;

/// Re-exports can form chains; a longer one than this is not followed.
const MAX_REEXPORT_DEPTH: usize = 8;

/// All circles in all crates.
pub(super) fn check(sources: &[RustSource]) -> Vec<String> {
    let mut crates: BTreeMap<String, ModuleGraph> = BTreeMap::new();
    for source in sources {
        let Some(path) = crate_path(&source.path) else {
            continue;
        };
        // Each program below src/bin is a crate root of its own.
        let root = match path.below_src.strip_prefix("bin/") {
            Some(program) => format!("{}/src/bin/{program}", path.folder),
            None => path.folder.to_owned(),
        };
        let graph = crates.entry(root).or_default();
        graph
            .modules
            .insert(module_path(path.below_src), references(&source.syntax));
    }
    let in_crate = |(root, graph): (String, ModuleGraph)| {
        let sentence = move |circle: Vec<String>| {
            format!(
                "{root}: modules use each other in a circle: {}",
                circle.join(", ")
            )
        };
        graph
            .circles()
            .into_iter()
            .map(sentence)
            .collect::<Vec<_>>()
    };
    crates.into_iter().flat_map(in_crate).collect()
}

fn module_path(below_src: &str) -> ModulePath {
    let parts = below_src.trim_end_matches(".rs").split('/');
    parts
        // These names are of crate roots, and of files that name no module.
        .filter(|part| !["lib", "main", "mod", "bin"].contains(part))
        .map(str::to_owned)
        .collect()
}

/// Paths that one module names.
#[derive(Default)]
struct ModuleReferences {
    paths: BTreeSet<Vec<String>>,
    /// Names that `use` brings into the module, and the paths they stand for.
    imports: BTreeMap<String, Vec<String>>,
    /// Paths that the module passes on to its users with `pub use`.
    reexports: BTreeSet<Vec<String>>,
    /// Names without a path in expressions and types.
    names: BTreeSet<String>,
    /// Modules that it declares, some of them with a `#[path]` that is not followed.
    children: BTreeSet<String>,
}

fn references(file: &syn::File) -> ModuleReferences {
    let mut references = ModuleReferences::default();
    references.visit_file(file);
    references
}

// === impl ModuleReferences ===

impl ModuleReferences {
    fn add_use(&mut self, prefix: &[String], tree: &syn::UseTree, is_public: bool) {
        let join = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&join(&path.ident), &path.tree, is_public),
            syn::UseTree::Group(group) => {
                group
                    .items
                    .iter()
                    .for_each(|tree| self.add_use(prefix, tree, is_public));
            }
            syn::UseTree::Name(name) => self.add_import(&name.ident, join(&name.ident), is_public),
            syn::UseTree::Rename(name) => {
                self.add_import(&name.rename, join(&name.ident), is_public);
            }
            syn::UseTree::Glob(_) => {
                // The names behind a glob are unknown; the edge to their module is certain.
                self.paths.insert(prefix.to_vec());
            }
        }
    }

    fn add_import(&mut self, name: &syn::Ident, path: Vec<String>, is_public: bool) {
        // A public import also serves the module itself.
        self.imports.insert(name.to_string(), path.clone());
        let paths = if is_public {
            &mut self.reexports
        } else {
            &mut self.paths
        };
        paths.insert(path);
    }

    /// Macros are not expanded: `a::b` in their tokens is taken for a path.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut after_colons = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    // Two names in a row belong to two paths.
                    if !after_colons {
                        self.add_path(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    after_colons = false;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => after_colons = true,
                TokenTree::Group(group) => {
                    self.add_path(std::mem::take(&mut path));
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.add_path(std::mem::take(&mut path));
                }
            }
        }
        self.add_path(path);
    }

    fn add_path(&mut self, path: Vec<String>) {
        match <[String; 1]>::try_from(path) {
            Ok([name]) => {
                self.names.insert(name);
            }
            Err(path) => {
                self.paths.insert(path);
            }
        }
    }
}

impl<'ast> Visit<'ast> for ModuleReferences {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // `pub(crate)` counts as public, because siblings can follow it.
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_use(&[], &item.tree, is_public);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // An inline module belongs to its file.
        if item.content.is_none() {
            self.children.insert(item.ident.to_string());
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add_path(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

/// The modules of one crate.
#[derive(Default)]
struct ModuleGraph {
    modules: BTreeMap<ModulePath, ModuleReferences>,
}

// === impl ModuleGraph ===

impl ModuleGraph {
    /// Groups of modules that reach each other, by their names.
    fn circles(&self) -> Vec<Vec<String>> {
        let edges: ModuleEdges<'_> = self
            .modules
            .iter()
            .map(|(module, references)| (module, self.uses(module, references)))
            .collect();
        let reached_by = |module: &ModulePath| reach(&edges, module);
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for module in self.modules.keys() {
            let others = reached_by(module);
            if others.contains(module) {
                let circle = others
                    .iter()
                    .filter(|other| reached_by(other).contains(module));
                // Every member finds the same circle; the set keeps one of them.
                circles.insert(circle.map(|path| name_of(path)).collect());
            }
        }
        circles.into_iter().collect()
    }

    /// The other modules that `module` uses.
    fn uses(&self, module: &ModulePath, references: &ModuleReferences) -> BTreeSet<ModulePath> {
        // A re-export from a child is an edge only if the module uses the name itself.
        let is_used = |path: &&Vec<String>| {
            let is_named = path
                .last()
                .is_some_and(|name| references.names.contains(name));
            let target = self.resolve(module, path, 0);
            target.is_some_and(|target| is_named || !target.starts_with(module))
        };
        let reexports = references.reexports.iter().filter(is_used);
        let paths = references.paths.iter().chain(reexports);
        let targets = paths.filter_map(|path| self.resolve(module, path, 0));
        let is_file = |target: &ModulePath| self.modules.contains_key(target);
        targets
            .filter(|target| target != module && is_file(target))
            .collect()
    }

    /// The module of this crate that declares what `path` names as seen from `module`.
    fn resolve(&self, module: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(self.descend(ModulePath::new(), rest, depth)),
            "self" => Some(self.descend(module.clone(), rest, depth)),
            "super" => {
                let (_, parent) = module.split_last()?;
                // `super::super` goes on from the parent as `super` did.
                let from_parent = || self.resolve(&parent.to_vec(), rest, depth);
                match rest.first() {
                    Some(next) if next == "super" => from_parent(),
                    _ => Some(self.descend(parent.to_vec(), rest, depth)),
                }
            }
            name => self.resolve_local(module, name, rest, depth),
        }
    }

    /// Resolves a path that begins with a child of `module` or with a module that it imports.
    fn resolve_local(
        &self,
        module: &ModulePath,
        name: &str,
        rest: &[String],
        depth: usize,
    ) -> Option<ModulePath> {
        let child = child(module, name);
        if self.modules.contains_key(&child) {
            return Some(self.descend(child, rest, depth));
        }
        // An imported name alone is its own `use`, which has been counted.
        let import = self.modules.get(module)?.imports.get(name)?;
        if rest.is_empty() || depth >= MAX_REEXPORT_DEPTH || import.as_slice() == [name] {
            return None;
        }
        self.resolve(module, &[import.as_slice(), rest].concat(), depth + 1)
    }

    /// Follows `rest` into children of `module`, and from a re-export to its declaration.
    fn descend(&self, mut module: ModulePath, rest: &[String], depth: usize) -> ModulePath {
        for name in rest {
            let next = child(&module, name);
            if self.modules.contains_key(&next) {
                module = next;
                continue;
            }
            let references = self.modules.get(&module);
            // A child with a `#[path]` has no file under its own name.
            if references.is_some_and(|found| found.children.contains(name)) {
                return next;
            }
            return match references.and_then(|found| found.imports.get(name)) {
                Some(import) if depth < MAX_REEXPORT_DEPTH => {
                    self.resolve(&module, import, depth + 1).unwrap_or(module)
                }
                _ => module,
            };
        }
        module
    }
}

/// The modules that each module uses.
type ModuleEdges<'a> = BTreeMap<&'a ModulePath, BTreeSet<ModulePath>>;

fn child(module: &[String], name: &str) -> ModulePath {
    [module, &[name.to_owned()]].concat()
}

fn name_of(module: &[String]) -> String {
    if module.is_empty() {
        "the crate root".to_owned()
    } else {
        module.join("::")
    }
}

/// Every module that can be reached from `start` over at least one edge.
fn reach(edges: &ModuleEdges<'_>, start: &ModulePath) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for next in edges.get(module).into_iter().flatten() {
            // Visiting each module once ends the search in a circle.
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_files(files: &[(&str, &str)]) -> Vec<String> {
        let parse = |(path, text): &(&str, &str)| {
            RustSource::parse(&format!("crates/a/src/{path}"), (*text).to_owned()).unwrap()
        };
        check(&files.iter().map(parse).collect::<Vec<_>>())
    }

    #[test]
    fn siblings_that_use_each_other_are_found() {
        let circle = check_files(&[
            ("lib.rs", "mod one; mod two;"),
            ("one.rs", "use crate::two::Two; struct One;"),
            ("two.rs", "struct Two; fn f() { super::one::g() }"),
        ]);
        assert_eq!(
            circle,
            ["crates/a: modules use each other in a circle: one, two"]
        );
    }

    #[test]
    fn a_circle_through_a_reexport_is_found() {
        let circle = check_files(&[
            ("lib.rs", "mod one; mod two; pub use two::Two;"),
            ("one.rs", "use crate::Two; pub struct One;"),
            ("two.rs", "use crate::one::One; pub struct Two;"),
        ]);
        assert_eq!(circle.len(), 1, "{circle:?}");
    }

    #[test]
    fn a_parent_that_calls_a_child_that_uses_it_is_found() {
        let circle = check_files(&[
            ("lib.rs", "mod one;"),
            ("one.rs", "mod part; struct One; fn f() { part::g() }"),
            ("one/part.rs", "use super::One; pub fn g() {}"),
        ]);
        assert_eq!(
            circle,
            ["crates/a: modules use each other in a circle: one, one::part"]
        );
    }

    #[test]
    fn a_path_inside_a_macro_counts() {
        let circle = check_files(&[
            ("lib.rs", "mod one; mod two;"),
            ("one.rs", "pub fn f() { println!(\"{}\", crate::two::g()) }"),
            ("two.rs", "use crate::one; pub fn g() { one::f() }"),
        ]);
        assert_eq!(circle.len(), 1, "{circle:?}");
    }

    #[test]
    fn a_reexport_that_the_parent_uses_itself_counts() {
        let circle = check_files(&[
            ("lib.rs", "mod one;"),
            (
                "one.rs",
                "mod part; pub use part::Part; pub struct One(Part);",
            ),
            ("one/part.rs", "use super::One; pub struct Part(One);"),
        ]);
        assert_eq!(circle.len(), 1, "{circle:?}");
    }

    #[test]
    fn a_module_with_a_path_attribute_is_not_its_parent() {
        let files = [
            (
                "main.rs",
                "mod one; #[path = \"other.rs\"] mod two; fn f() { one::g() }",
            ),
            ("one.rs", "use crate::two::Two; pub fn g() {}"),
        ];
        assert_eq!(check_files(&files), Vec::<String>::new());
    }

    #[test]
    fn a_table_of_contents_is_no_circle() {
        let files = [
            ("lib.rs", "mod one; pub use one::{One, Part};"),
            (
                "one.rs",
                "mod part; mod rest; pub use part::Part; pub struct One;",
            ),
            ("one/part.rs", "use super::One; pub struct Part(One);"),
            ("one/rest.rs", "use super::part::Part; use std::fmt;"),
        ];
        assert_eq!(check_files(&files), Vec::<String>::new());
    }
}
