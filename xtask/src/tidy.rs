//! `cargo xtask tidy`: the rules of this repository that no other tool checks. Also runs as a test.
//!
//! - [`crate_dependencies`]: crates use each other in one direction; the pure ones use no runtime.
//! - [`module_cycles`]: modules of a crate form no circle.
//! - [`type_names`]: a type name is declared in one file.
//! - [`source_files`]: size, module documentation, and words in names.
//! - [`line_width`]: 100 columns.
//! - [`prose`]: style and spelling of comments and pages.
//! - [`measures`]: averages over all code.

mod crate_dependencies;
mod line_width;
pub(crate) mod measures;
mod module_cycles;
mod prose;
mod repository;
mod rust_source;
mod source_files;
mod type_names;

use std::fs;

use anyhow::{Context, Result, bail};
use throughline_testkit::build::repository_root;

/// Checks all rules.
///
/// # Errors
/// Lists every violation.
pub(crate) fn run() -> Result<()> {
    let files = repository::tracked_files()?;
    let mut violations = crate_dependencies::check()?;
    violations.extend(check_texts(&files)?);
    let sources = rust_source::parse_all(repository_root(), &files)?;
    violations.extend(module_cycles::check(&sources));
    violations.extend(type_names::check(&sources));
    violations.extend(measures::check(&sources));
    if violations.is_empty() {
        Ok(())
    } else {
        bail!(
            "{} violations:\n  {}",
            violations.len(),
            violations.join("\n  ")
        )
    }
}

/// The checks that look at one text file at a time.
fn check_texts(files: &[String]) -> Result<Vec<String>> {
    let prose = prose::ProseChecker::new()?;
    let root = repository_root();
    let mut violations = Vec::new();
    for file in files {
        let path = root.join(file);
        // A deleted file stays in git's index until the deletion is staged.
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {file}"))?;
        // Pictures and recorded bytes.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let mut found = source_files::check(root, file, &text);
        found.extend(line_width::check(file, &text));
        found.extend(prose.check(file, &text));
        violations.extend(
            found
                .into_iter()
                .map(|violation| format!("{file}: {violation}")),
        );
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(violations) = super::run() {
            panic!("{violations}");
        }
    }
}
