//! Names that models and rules can write.

use std::collections::HashMap;

/// Gives names of letters, digits, `_` and `-`, none of them twice.
#[derive(Default)]
pub(super) struct Names {
    /// How often each was given, so that the next one is found at once.
    given: HashMap<String, usize>,
}

impl Names {
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
        let plain: String = wanted.chars().map(plain).collect();
        let mut times = self.given.get(&plain).copied().unwrap_or_default();
        let mut name = plain.clone();
        while self.given.contains_key(&name) {
            times += 1;
            name = format!("{plain}_{times}");
        }
        self.given.insert(plain, times.max(1));
        self.given.entry(name.clone()).or_insert(1);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        let given = ["a", "a b", "a", "a_2", "a", "a.b", "é"].map(|wanted| names.fresh(wanted));
        assert_eq!(given, ["a", "a_b", "a_2", "a_2_2", "a_3", "a_b_2", "_"]);
    }
}
