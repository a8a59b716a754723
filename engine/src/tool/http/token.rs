//! `OAuth` 2 client credentials: a secret buys a token, which is of use until it expires.
//!
//! A token is kept by the Gate, never by the tool: it is as much a secret of that Gate as the one that bought it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use casemate_policy::{AddressClass, Grants, HostGrant};
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::endpoint::{body, failed, line};
use super::{HttpToolError, open, origin_of};
use crate::effect::Outcome;
use crate::egress::Pace;
use crate::gate::{Outgoing, Scope, Wanted};
use crate::limits::HttpLimits;
use crate::perform::outcome_of;
use crate::secret::SecretPlace;
use crate::tool::Toolset;

/// Where tokens come from.
#[derive(Debug)]
pub(crate) struct Token {
    url: Url,
    host: HostGrant,
    secret: (String, SecretPlace),
    form: Bytes,
    purpose: String,
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
        let host = open(&origin_of(url)?, classes).below(url.path())?.methods(["POST"])?;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        let form = form.finish();
        let purpose = format!("{url} {} {:?} {form}", secret.0, secret.1);
        Ok(Self { url: url.clone(), host, secret, form: form.into(), purpose })
    }

    /// The name of the secret that buys it.
    pub(crate) fn secret(&self) -> &str {
        &self.secret.0
    }

    /// What tells tokens apart that are for something else.
    pub(crate) fn purpose(&self) -> &str {
        &self.purpose
    }

    /// A new one, and until when it is of use.
    pub(crate) async fn buy(&self, caller: &Scope) -> Result<(SecretString, Instant), Outcome> {
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
            secrets: Wanted::Payment { name, place },
            request_bytes: limits.request_bytes,
            pace: Pace::new(&limits),
        };
        let response = scope.fetch(outgoing).await?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(|error| outcome_of(&error))?.to_bytes();
        if !status.is_success() {
            return Err(failed(format!("there is no token: its server answered with status {status}")));
        }
        let granted: Granted = serde_json::from_slice(&answer)
            .map_err(|_| failed("there is no token: its server answered with something else".to_owned()))?;
        let lasts = Duration::from_secs(granted.expires_in.unwrap_or(USUAL)).saturating_sub(MARGIN);
        let until = Instant::now().checked_add(lasts).unwrap_or_else(Instant::now);
        let value = SecretString::from(granted.access_token);
        if let Some(why) = crate::secret::fault(value.expose_secret()) {
            return Err(failed(format!("the token cannot be used: {why}")));
        }
        Ok((value, until))
    }
}
