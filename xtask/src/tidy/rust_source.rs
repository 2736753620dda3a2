//! Parsed Rust source files of the workspace, the input of the checks that need syntax.
//!
//! Unit tests are left out: items under `#[cfg(test)]`, `tests.rs` files, and everything below
//! `tests/` and `benches/`. No macro is expanded and no type is resolved.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One source file of a crate.
pub(crate) struct RustSource {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The items that are not tests.
    pub(crate) syntax: syn::File,
}

/// The part of a path that names a crate's folder and the part below its `src`.
pub(crate) struct CratePath<'a> {
    pub(crate) folder: &'a str,
    pub(crate) below_src: &'a str,
}

/// Parses the files among `files` that belong to a crate's library or program.
///
/// # Errors
/// Names the file that cannot be read or parsed.
pub(crate) fn parse_all(root: &Path, files: &[String]) -> Result<Vec<RustSource>> {
    let sources = files.iter().filter(|file| crate_path(file).is_some());
    sources
        // A deleted file stays in git's index until the deletion is staged.
        .filter(|file| root.join(file).is_file())
        .map(|file| {
            let text = fs::read_to_string(root.join(file));
            RustSource::parse(file, text.with_context(|| format!("reading {file}"))?)
        })
        .collect()
}

/// Splits `crates/a/src/b/c.rs` into `crates/a` and `b/c.rs`; [`None`] for tests and other files.
pub(crate) fn crate_path(file: &str) -> Option<CratePath<'_>> {
    let (folder, below_src) = file.split_once("/src/")?;
    let is_test = is_test_file(below_src) || folder.contains("/tests");
    (below_src.ends_with(".rs") && !is_test).then_some(CratePath { folder, below_src })
}

/// Whether the file holds nothing but tests or benchmarks.
pub(crate) fn is_test_file(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == "tests.rs"
        || file
            .split('/')
            .any(|part| ["tests", "benches"].contains(&part))
}

// === impl RustSource ===

impl RustSource {
    /// Parses one file and drops its tests.
    ///
    /// # Errors
    /// When the text is not Rust.
    pub(crate) fn parse(path: &str, text: String) -> Result<Self> {
        let mut syntax = syn::parse_file(&text).with_context(|| format!("parsing {path}"))?;
        syntax.items.retain(|item| !is_test_item(item));
        Ok(Self {
            path: path.to_owned(),
            text,
            syntax,
        })
    }

    /// The crate's folder, such as `crates/throughline-model`.
    pub(crate) fn crate_folder(&self) -> &str {
        crate_path(&self.path).map_or("", |path| path.folder)
    }

    /// Lines before the unit tests, with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self
            .text
            .lines()
            // Unit tests are at the end of a file.
            .take_while(|line| !line.starts_with("#[cfg(test)]"));
        lines.enumerate().map(|(index, line)| (index + 1, line))
    }

    /// First and last line of every function body, nested ones included.
    pub(crate) fn function_bodies(&self) -> Vec<(usize, usize)> {
        let mut bodies = FunctionBodies::default();
        bodies.visit_file(&self.syntax);
        bodies.lines
    }
}

#[derive(Default)]
struct FunctionBodies {
    lines: Vec<(usize, usize)>,
}

impl<'ast> Visit<'ast> for FunctionBodies {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        let LineColumn { line: first, .. } = block.span().start();
        self.lines.push((first, block.span().end().line));
        visit::visit_block(self, block);
    }
}

/// Whether the item is under `#[cfg(test)]`. Other items than these are never only for tests.
fn is_test_item(item: &syn::Item) -> bool {
    let attributes: &[syn::Attribute] = if let syn::Item::Mod(module) = item {
        &module.attrs
    } else if let syn::Item::Fn(function) = item {
        &function.attrs
    } else if let syn::Item::Impl(implementation) = item {
        &implementation.attrs
    } else if let syn::Item::Use(import) = item {
        &import.attrs
    } else {
        &[]
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_left_out() {
        let text = "fn a() {\n}\n#[cfg(test)]\nmod tests { struct Fixture; }\n";
        let source = RustSource::parse("crates/a/src/lib.rs", text.to_owned()).unwrap();
        assert_eq!(source.syntax.items.len(), 1);
        assert_eq!(source.lines().count(), 2);
        assert_eq!(source.function_bodies(), [(1, 2)]);
    }

    #[test]
    fn crate_paths_exclude_tests_and_other_files() {
        let below_src = |file| crate_path(file).map(|path| path.below_src);
        assert_eq!(below_src("crates/a/src/b/c.rs"), Some("b/c.rs"));
        assert_eq!(below_src("xtask/src/main.rs"), Some("main.rs"));
        assert_eq!(below_src("crates/a/src/b/tests.rs"), None);
        assert_eq!(below_src("crates/a/tests/it.rs"), None);
        assert_eq!(below_src("ui/src/main.tsx"), None);
    }
}
