//! Paragraphs of prose in a file, without the code around and inside them.

/// Lines of prose that belong together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Paragraph {
    /// Number of its first line, from 1.
    pub(crate) line: usize,
    /// The lines, joined with spaces; code in backticks is left out.
    pub(crate) text: String,
}

/// The paragraphs of a documentation page, or those of the comments in a file of code.
pub(crate) fn paragraphs(file: &str, text: &str) -> Vec<Paragraph> {
    let prose_of: fn(&str) -> Option<&str> = match file.rsplit('.').next() {
        Some("md") => |line| Some(line),
        Some("rs" | "ts" | "tsx" | "mjs" | "java" | "go") => slash_comment,
        Some("toml" | "sh" | "py" | "yaml") => hash_comment,
        _ if file == ".ci/run" || file == "fuzz/run" => hash_comment,
        _ => return Vec::new(),
    };
    let mut builder = ParagraphBuilder::default();
    for (index, line) in text.lines().enumerate() {
        builder.add(index + 1, prose_of(line.trim()));
    }
    builder.finish()
}

fn slash_comment(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("//").or_else(|| line.strip_prefix("/*"));
    // Lines inside a block comment begin with an asterisk.
    let rest = rest.or_else(|| line.strip_prefix("* "))?;
    Some(
        rest.trim_start_matches(['/', '!', '*'])
            .trim_end_matches("*/")
            .trim(),
    )
}

fn hash_comment(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        // The first line of a script names its interpreter.
        .filter(|rest| !rest.starts_with('!'))
        .map(str::trim)
}

#[derive(Default)]
struct ParagraphBuilder {
    done: Vec<Paragraph>,
    open: Option<Paragraph>,
    is_in_fence: bool,
}

// === impl ParagraphBuilder ===

impl ParagraphBuilder {
    /// Takes a line; [`None`] for one without prose.
    fn add(&mut self, number: usize, prose: Option<&str>) {
        let Some(prose) = prose.map(str::trim) else {
            // Code between two comments separates them.
            return self.close();
        };
        if prose.starts_with("```") {
            self.is_in_fence = !self.is_in_fence;
            return self.close();
        }
        // Headings are titles, not sentences.
        if self.is_in_fence
            || prose.is_empty()
            || prose.starts_with("# ")
            || prose.starts_with("##")
        {
            return self.close();
        }
        // An item or a cell does not continue the sentence of the line above.
        let starts_item = ["- ", "* ", "| "]
            .iter()
            .any(|mark| prose.starts_with(mark));
        if starts_item
            || prose
                .split_once(". ")
                .is_some_and(|(first, _)| is_number(first))
        {
            self.close();
        }
        let open = self.open.get_or_insert(Paragraph {
            line: number,
            text: String::new(),
        });
        if !open.text.is_empty() {
            open.text.push(' ');
        }
        open.text.push_str(prose);
    }

    fn close(&mut self) {
        if let Some(mut paragraph) = self.open.take() {
            paragraph.text = without_code(&paragraph.text);
            self.done.push(paragraph);
        }
    }

    fn finish(mut self) -> Vec<Paragraph> {
        self.close();
        self.done
    }
}

fn is_number(text: &str) -> bool {
    text.chars().all(|digit| digit.is_ascii_digit())
}

/// Replaces code in backticks by a noun, so that sentences keep their shape.
pub(super) fn without_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        // Every second part was between backticks.
        .map(|(index, part)| if index % 2 == 0 { part } else { "Code" })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str, text: &str) -> Vec<String> {
        paragraphs(file, text)
            .into_iter()
            .map(|paragraph| paragraph.text)
            .collect()
    }

    #[test]
    fn comments_are_joined_until_code_or_an_empty_line() {
        let text = "//! One\n//! sentence.\n//!\n//! Another.\nlet a = 1;\n// Third.\n";
        assert_eq!(
            texts("src/a.rs", text),
            ["One sentence.", "Another.", "Third."]
        );
    }

    #[test]
    fn items_and_cells_are_paragraphs_of_their_own() {
        let text = "# Title\n- one\n- two\n1. three\n| cell | `code` |\n";
        assert_eq!(
            texts("a.md", text),
            ["- one", "- two", "1. three", "| cell | Code |"]
        );
    }

    #[test]
    fn a_fence_is_left_out_in_comments_as_in_pages() {
        let text = "/// Before.\n/// ```\n/// let a = 1;\n/// ```\n/// After.\n";
        assert_eq!(texts("src/a.rs", text), ["Before.", "After."]);
    }

    #[test]
    fn line_numbers_are_those_of_the_first_line() {
        assert_eq!(paragraphs("a.md", "\n\nText\nmore\n")[0].line, 3);
    }
}
