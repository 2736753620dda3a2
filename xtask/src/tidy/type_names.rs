//! A type name is declared in one file of the workspace, so that a search for it has one answer.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::rust_source::RustSource;

/// Names that mean the same wherever they are declared.
const SHARED_NAMES: [&str; 6] = ["Config", "Error", "Metrics", "Options", "Settings", "State"];

/// Files of which every program compiles one; the same names are their purpose.
const ALTERNATIVES: [(&str, &str); 1] = [(
    "examples/eshop/src/wiring/bare.rs",
    "examples/eshop/src/wiring/traced.rs",
)];

/// The names of the types and traits that a file declares.
pub(crate) fn declared_in(source: &RustSource) -> Vec<String> {
    let mut declarations = TypeDeclarations::default();
    declarations.visit_file(&source.syntax);
    declarations.names
}

/// Names that are declared in more than one file.
pub(super) fn check(sources: &[RustSource]) -> Vec<String> {
    let mut files: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for source in sources {
        for name in declared_in(source) {
            let declaring_file = alternative_of(&source.path);
            // A set of files: inner modules of one file may declare the same name.
            files.entry(name).or_default().insert(declaring_file);
        }
    }
    files.retain(|name, files| files.len() > 1 && !SHARED_NAMES.contains(&name.as_str()));
    let sentence = |(name, files): (String, BTreeSet<&str>)| {
        let files: Vec<&str> = files.into_iter().collect();
        format!("type name {name} is declared in {}", files.join(" and "))
    };
    files.into_iter().map(sentence).collect()
}

/// Returns the first of two alternative files for either.
fn alternative_of(path: &str) -> &str {
    let first =
        |(first, second): &(&'static str, &'static str)| (*second == path).then_some(*first);
    ALTERNATIVES.iter().find_map(first).unwrap_or(path)
}

#[derive(Default)]
struct TypeDeclarations {
    names: Vec<String>,
}

// === impl TypeDeclarations ===

impl TypeDeclarations {
    fn add(&mut self, name: &syn::Ident) {
        self.names.push(name.to_string());
    }
}

impl<'ast> Visit<'ast> for TypeDeclarations {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add(&item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        // A trait's default methods can declare types.
        visit::visit_item_trait(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> RustSource {
        RustSource::parse(path, text.to_owned()).unwrap()
    }

    #[test]
    fn a_name_in_two_files_is_found() {
        let one = source("crates/a/src/one.rs", "struct Span; enum Error {}");
        let two = source("crates/b/src/two.rs", "trait Span {} enum Error {}");
        let expected =
            ["type name Span is declared in crates/a/src/one.rs and crates/b/src/two.rs"];
        assert_eq!(check(&[one, two]), expected);
    }

    #[test]
    fn a_name_twice_in_one_file_passes() {
        let twice = source(
            "crates/a/src/one.rs",
            "mod a { struct Row; } mod b { struct Row; }",
        );
        assert_eq!(check(&[twice]), Vec::<String>::new());
    }
}
