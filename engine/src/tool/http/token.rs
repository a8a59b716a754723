//! `OAuth` 2 client credentials: a secret is exchanged for a token, which is kept until it expires.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use casemate_policy::{AddressClass, Grants, HostGrant};
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use super::endpoint::{body, failed, line};
use super::{HttpToolError, open, origin_of};
use crate::effect::Outcome;
use crate::egress::Pace;
use crate::gate::{Outgoing, Scope, Unanswered, Wanted};
use crate::limits::HttpLimits;
use crate::perform::outcome_of;
use crate::secret::SecretPlace;
use crate::tool::Toolset;

/// Where tokens come from, and the one there is. It is one for all that call the tool.
#[derive(Debug)]
pub(super) struct Token {
    url: Url,
    host: HostGrant,
    secret: (String, SecretPlace),
    form: Bytes,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    value: SecretString,
    until: Instant,
}

/// RFC 6749, 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

/// A token is not used in its last moments: it could expire on the way.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token lasts that does not say.
const USUAL: u64 = 300;
const LARGEST_ANSWER: u64 = 64 << 10;

impl Token {
    pub(super) fn new(
        url: &Url,
        classes: &[AddressClass],
        secret: (String, SecretPlace),
        scopes: &[String],
    ) -> Result<Self, HttpToolError> {
        let host = open(&origin_of(url)?, classes)?.below(url.path())?.methods(["POST"])?;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        let form = form.finish().into();
        Ok(Self { url: url.clone(), host, secret, form, current: Mutex::new(None) })
    }

    /// Puts a token into the headers, a new one where the old one is over.
    pub(super) async fn put(&self, caller: &Scope, headers: &mut HeaderMap) -> Result<(), Outcome> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_none_or(|token| token.until <= Instant::now()) {
            *current = Some(self.ask(caller).await?);
        }
        let Some(token) = current.as_ref() else { return Ok(()) };
        // The Gate that sends it is not always the one that got it.
        caller.mask(&token.value);
        let text = Zeroizing::new(format!("Bearer {}", token.value.expose_secret()));
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| failed("the token cannot stand in a header".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(())
    }

    async fn ask(&self, caller: &Scope) -> Result<Current, Outcome> {
        let (name, place) = self.secret.clone();
        let reach = Grants::none().host(self.host.clone()).secret(&name).map_err(|error| failed(error.to_string()))?;
        let scope = caller.child(Arc::new(reach), Toolset::new(), Arc::default());
        let limits = HttpLimits::default().response_bytes(LARGEST_ANSWER);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        let outgoing = Outgoing {
            line: line(&Method::POST, &self.url).map_err(Outcome::InvalidInput)?,
            query: self.url.query().map(str::to_owned),
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]),
            body: body(self.form.clone()),
            secrets: Wanted::Named { name, place },
            request_bytes: limits.request_bytes,
            pace: Pace::new(&limits),
        };
        let response = scope.fetch(outgoing).await.map_err(|error| match error {
            Unanswered::Stopped(outcome) => outcome,
            Unanswered::Failed(error) => outcome_of(&error),
        })?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(|error| outcome_of(&error))?.to_bytes();
        if !status.is_success() {
            return Err(failed(format!("there is no token: its server answered with status {status}")));
        }
        let granted: Granted = serde_json::from_slice(&answer)
            .map_err(|_| failed("there is no token: its server answered with something else".to_owned()))?;
        let lasts = Duration::from_secs(granted.expires_in.unwrap_or(USUAL)).saturating_sub(MARGIN);
        let until = Instant::now().checked_add(lasts).unwrap_or_else(Instant::now);
        Ok(Current { value: granted.access_token.into(), until })
    }
}
