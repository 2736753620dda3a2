//! A stream of YAML documents. Documents that do not change keep their bytes, comments included.

use std::fmt::Write as _;

use serde_json::Value;

use super::pod::{PodInjection, PodInjector};
use super::workload;

/// A manifest with the sidecar in its pods.
#[derive(Debug, Default)]
pub(super) struct InjectedManifest {
    pub(super) text: String,
    /// A line for each pod that was left alone, with the reason.
    pub(super) notes: Vec<String>,
}

/// One document of a stream.
#[derive(Debug, Default)]
struct ManifestDocument<'a> {
    /// Line of the first character, from 1.
    line: usize,
    /// The marker `---` with the rest of its line, if it begins with one.
    marker: &'a str,
    body: &'a str,
}

/// Injects the sidecar into every pod of a manifest.
///
/// # Errors
/// Every error, each with the number and line of its document.
pub(super) fn inject(text: &str, injector: &PodInjector) -> Result<InjectedManifest, Vec<String>> {
    let mut injected = InjectedManifest::default();
    let mut errors = Vec::new();
    // Documents without content, such as a comment before the first marker, have no number.
    let mut number = 0;
    for document in documents(text) {
        let content = document.content();
        if !has_content(content) {
            injected.text += document.marker;
            injected.text += document.body;
            continue;
        }
        number += 1;
        let place = format!("document {number} (line {})", document.line);
        match inject_document(content, injector, &place, &mut injected.notes) {
            Ok(None) => {
                injected.text += document.marker;
                injected.text += document.body;
            }
            Ok(Some(changed)) => document.write_changed(&changed, &mut injected.text),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        Ok(injected)
    } else {
        Err(errors)
    }
}

/// Returns the changed document, or [`None`] if it stays as it is.
fn inject_document(
    text: &str,
    injector: &PodInjector,
    place: &str,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Vec<String>> {
    let mut value = parse(text).map_err(|error| vec![format!("{place}: {error}")])?;
    let mut changed = false;
    let mut errors = Vec::new();
    workload::for_each_pod(&mut value, &mut |pod| match injector
        .inject(pod.template, pod.workload_name)
    {
        Ok(PodInjection::Injected) => changed = true,
        Ok(PodInjection::Skipped(reason)) => {
            notes.push(format!("{place}, {}: not injected: {reason}", pod.title));
        }
        Err(found) => errors.extend(
            found
                .iter()
                .map(|error| format!("{place}, {}: {error}", pod.title)),
        ),
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    if !changed {
        return Ok(None);
    }
    let is_json = text.trim_start().starts_with('{');
    let rendered = if is_json {
        serde_json::to_string_pretty(&value)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string())
    } else {
        render(&value)
    };
    rendered
        .map(Some)
        .map_err(|error| vec![format!("{place}: {error}")])
}

/// Parses one document as Kubernetes does.
fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        // `defaultMode: 0644` is octal to Kubernetes, whose YAML is version 1.1.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// Writes a value as YAML that a parser of version 1.1, such as Kubernetes', reads alike.
pub(crate) fn render(value: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! {
        // A folded block would change strings that end in spaces.
        prefer_block_scalars: false,
    };
    serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())
}

/// Splits a stream at its markers. A line that begins with `---` is one even inside a block scalar
/// (YAML 1.2, section 9.1.2).
fn documents(text: &str) -> Vec<ManifestDocument<'_>> {
    let mut documents = Vec::new();
    let mut document = ManifestDocument {
        line: 1,
        ..ManifestDocument::default()
    };
    let mut start = 0;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            document.body = text.get(start..offset).unwrap_or_default();
            documents.push(std::mem::take(&mut document));
            document.line = index + 1;
            document.marker = line;
            start = offset + line.len();
        }
        offset += line.len();
    }
    document.body = text.get(start..).unwrap_or_default();
    documents.push(document);
    documents
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Whether a document has more than comments.
fn has_content(body: &str) -> bool {
    body.lines().map(str::trim).any(|line| {
        !line.is_empty() && !line.starts_with('#') && !line.starts_with('%') && line != "..."
    })
}

// === impl ManifestDocument ===

impl<'a> ManifestDocument<'a> {
    /// Returns the text to parse. Content on the line of the marker is rare, and stays there.
    fn content(&self) -> &'a str {
        self.body
    }

    /// Writes the changed document, behind the comments with which it began.
    fn write_changed(&self, changed: &str, out: &mut String) {
        // The document before may lack the last line break.
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(self.marker);
        let comments = self
            .body
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with('#'));
        for comment in comments {
            // Writing to a string cannot fail.
            writeln!(out, "{comment}").unwrap_or_default();
        }
        out.push_str(changed);
    }
}
