//! The README's example of the SDK is the one of the crate's README, which its doc tests compile.

#[test]
fn readme_shows_the_example_that_the_doc_tests_compile() {
    let example = |readme: &'static str| {
        readme
            .split_once("```rust\n")
            .and_then(|(_, rest)| rest.split_once("```"))
            .map(|(code, _)| code)
    };
    let compiled = example(include_str!("../../crates/throughline/README.md"));
    assert!(compiled.is_some_and(|code| code.contains("throughline::init")));
    assert_eq!(example(include_str!("../../README.md")), compiled);
}
