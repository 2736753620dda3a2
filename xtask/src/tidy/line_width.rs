//! Lines of code and prose end at column 100, so that two versions fit side by side.

/// Widest line, in characters.
const MAX_COLUMNS: usize = 100;

/// Endings of the files that people read and write.
const EXTENSIONS: [&str; 10] = [
    "css", "go", "java", "md", "mjs", "py", "rs", "sh", "ts", "tsx",
];

/// Files without an ending that are code.
const NAMES: [&str; 2] = [".ci/run", "fuzz/run"];

/// Lines that are too wide, unless one unbreakable word, such as a URL, makes them so.
pub(super) fn check(file: &str, text: &str) -> Vec<String> {
    let extension = file.rsplit('.').next().unwrap_or_default();
    let is_toml = file.ends_with(".toml");
    if !EXTENSIONS.contains(&extension) && !NAMES.contains(&file) && !is_toml {
        return Vec::new();
    }
    let too_wide = |(index, line): (usize, &str)| {
        let columns = line.chars().count();
        let word = line
            .split_whitespace()
            .map(|word| word.chars().count())
            .max();
        let breakable = word.is_some_and(|word| word < MAX_COLUMNS - 20);
        (columns > MAX_COLUMNS && breakable).then(|| {
            format!(
                "line {} has {columns} columns; {MAX_COLUMNS} at most",
                index + 1
            )
        })
    };
    text.lines().enumerate().filter_map(too_wide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_line_is_found_in_code_and_prose() {
        let wide = "word ".repeat(21);
        for file in [
            "crates/a/src/lib.rs",
            "docs/a.md",
            "ui/src/a.tsx",
            ".ci/run",
            "Cargo.toml",
        ] {
            let found = check(file, &format!("short\n{wide}\n"));
            assert_eq!(found, ["line 2 has 105 columns; 100 at most"], "{file}");
            assert_eq!(
                check(file, wide.trim_end_matches("word ")),
                Vec::<String>::new(),
                "{file}"
            );
        }
    }

    #[test]
    fn generated_files_and_unbreakable_words_pass() {
        assert_eq!(check("Cargo.lock", &"a ".repeat(80)), Vec::<String>::new());
        let url = format!("see https://example.org/{}", "a".repeat(100));
        assert_eq!(check("docs/a.md", &url), Vec::<String>::new());
    }

    #[test]
    fn columns_are_characters() {
        assert_eq!(
            check("docs/a.md", &"\u{e9} ".repeat(50)),
            Vec::<String>::new()
        );
    }
}
