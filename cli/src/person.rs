//! Who is at the terminal, as far as the system knows: for the record of what they decide.

/// The user's name, or that nobody knows it.
pub(crate) fn name() -> String {
    let named = ["USER", "LOGNAME", "USERNAME"].into_iter().filter_map(|variable| std::env::var(variable).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "somebody at the terminal".to_owned())
}
