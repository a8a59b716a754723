//! Guests and servers that try to get hold of a secret.

mod bindings;
mod changes;
mod echoes;
mod tools;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate::{Gate, Grants, Secret, SecretPlace, Secrets};
use serde_json::Value;

use crate::outside::hosts;
use crate::support::Fixed;

/// Holds what encoders change, and what lower case changes.
pub(crate) const CANARY: &str = "sk_live_cAnarY-01/23+45=67~89";

/// The secret `KEY`, bound to these requests as a bearer.
pub(crate) fn bound(requests: &[&str]) -> Secrets {
    let secrets = Secrets::new();
    secrets.set(key(requests, &SecretPlace::bearer()));
    secrets
}

fn key(requests: &[&str], place: &SecretPlace) -> Secret {
    let secret = Secret::new("KEY", Fixed(CANARY)).unwrap();
    requests.iter().fold(secret, |secret, requests| secret.bound_to(requests.parse().unwrap(), place.clone()))
}

pub(crate) fn gate(secrets: &Secrets) -> Gate {
    Gate::builder().secrets(secrets.clone()).build()
}

/// Grants of hosts, and of `KEY`.
#[track_caller]
fn with_key(grants: &[&str]) -> Grants {
    hosts(grants).secret("KEY").unwrap()
}

/// How a server may say the canary without meaning harm.
pub(crate) fn forms() -> Vec<String> {
    let bytes = CANARY.as_bytes();
    let percent = |plain: &str| -> String {
        let escape = |letter: char| match letter {
            letter if letter.is_ascii_alphanumeric() || plain.contains(letter) => letter.to_string(),
            letter => format!("%{:02X}", u32::from(letter)),
        };
        CANARY.chars().map(escape).collect()
    };
    vec![
        CANARY.to_owned(),
        STANDARD.encode(bytes),
        STANDARD.encode(format!("Bearer {CANARY}")),
        URL_SAFE_NO_PAD.encode(bytes),
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat(),
        percent("-_.~"),
        percent("-_.~").to_lowercase().replace("sk_live_canary", "sk_live_cAnarY"),
        percent("-_.!~*'()"),
        percent("-_.~/"),
        CANARY.replace('/', "\\/"),
    ]
}

/// Nothing of the canary is in it: not in any form, and no half of it.
#[track_caller]
pub(crate) fn is_clean(text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{form} in {text}");
    }
    let lower = text.to_lowercase();
    for part in ["sk_live", "canary", "01/23", "45=67", "01%2f23", "67~89"] {
        assert!(!lower.contains(part), "{part} in {text}");
    }
}

#[track_caller]
fn is_clean_json(value: &Value) {
    is_clean(&value.to_string());
}
