//! What the documents say of the tests is so.

use std::path::Path;

/// Whether every test that the page names is there: at least so many.
fn names_tests_that_are_there(page: &str, least: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join(page)).unwrap();
    let named: Vec<_> = page.split('`').filter_map(|word| word.rsplit_once("::")).collect();
    let is_module = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == ':');
    let named: Vec<_> = named.iter().filter(|(module, _)| is_module(module)).collect();
    assert!(named.len() >= least);
    for (module, test) in named {
        let file = root.join("tests/all").join(module.replace("::", "/")).with_extension("rs");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {}", file.display()));
        assert!(text.contains(&format!("fn {test}(")), "{module}::{test}");
    }
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    names_tests_that_are_there("docs/security.md", 20);
}

#[test]
fn every_test_that_the_page_on_durability_names_is_there() {
    names_tests_that_are_there("docs/durability.md", 40);
}
