use keyring::v1::{Entry, Error};
use secrecy::SecretString;

use super::{SecretFuture, SecretReadError, SecretSource};

/// A value in the system's keyring: Keychain on macOS, the Credential Manager on Windows, the Secret Service elsewhere.
#[derive(Clone, Debug)]
pub struct KeyringSecret {
    service: String,
    user: String,
}

impl KeyringSecret {
    /// By the names under which the keyring has it.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        Self { service: service.into(), user: user.into() }
    }
}

impl SecretSource for KeyringSecret {
    fn read(&self) -> SecretFuture<'_> {
        let own = self.clone();
        Box::pin(async move {
            // A keyring may ask its owner to open it, and waits for that.
            let read = tokio::task::spawn_blocking(move || own.password()).await;
            read.unwrap_or_else(|_| Err(SecretReadError::new("asking for it was broken off")))
        })
    }

    fn place(&self) -> String {
        format!("the keyring's entry `{}` of `{}`", self.user, self.service)
    }
}

impl KeyringSecret {
    fn password(&self) -> Result<Option<SecretString>, SecretReadError> {
        match Entry::new(&self.service, &self.user).and_then(|entry| entry.get_password()) {
            Ok(password) => Ok(Some(password.into())),
            Err(Error::NoEntry) => Ok(None),
            Err(Error::NoDefaultStore) => Err(SecretReadError::new("there is no keyring")),
            // Others can carry what they could not read.
            Err(Error::BadEncoding(_) | Error::BadDataFormat(..)) => Err(SecretReadError::new("it is not UTF-8")),
            Err(_) => Err(SecretReadError::new("the keyring does not answer, or is locked")),
        }
    }
}
