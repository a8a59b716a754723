use secrecy::SecretString;

use super::{SecretFuture, SecretReadError, SecretSource};

/// The value of an environment variable of this process.
#[derive(Clone, Debug)]
pub struct EnvironmentSecret {
    variable: String,
}

impl EnvironmentSecret {
    /// By the name of the variable.
    pub fn new(variable: impl Into<String>) -> Self {
        Self { variable: variable.into() }
    }
}

impl SecretSource for EnvironmentSecret {
    fn read(&self) -> SecretFuture<'_> {
        let value = match std::env::var(&self.variable) {
            Ok(value) => Ok(Some(SecretString::from(value))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            // The error would carry the value.
            Err(std::env::VarError::NotUnicode(_)) => Err(SecretReadError::new("it is not UTF-8")),
        };
        Box::pin(std::future::ready(value))
    }

    fn place(&self) -> String {
        format!("the environment variable `{}`", self.variable)
    }
}
