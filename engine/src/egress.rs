//! The one way out to the network: a client that dials exactly the addresses it is given, and hands responses on as they
//! come, bounded, decoded and scrubbed.
//!
//! It decides nothing. Which requests may leave, to which addresses and with which secrets, the Gate has decided before;
//! so that nothing is decided twice, no name is looked up here. It reads no environment variable and knows no proxy, and
//! it follows no redirect.

mod body;
mod decode;
mod dial;
mod error;
mod pool;
mod resolve;
mod scrub;
mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use casemate_policy::Origin;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::time::{Instant, timeout_at};

use crate::limits::HttpLimits;

pub(crate) use body::Inbound;
pub use dial::{Connection, Dial, DialFuture};
pub(crate) use error::{EgressError, Phase};
use pool::{Key, Pool, Sender};
pub use resolve::{Resolve, ResolveFuture};
pub(crate) use scrub::{Masks, Scrubber};
pub use tls::RootsError;
use tls::Tls;

/// The body of a request as it goes out.
pub(crate) type OutBody = UnsyncBoxBody<Bytes, EgressError>;

/// The HTTP client through which everything leaves. Cheap to clone; clones share their connections.
///
/// It speaks HTTP/1.1, over TLS with the roots that Mozilla trusts.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    resolver: Box<dyn Resolve>,
    dialer: Box<dyn Dial>,
    tls: Tls,
    pool: Pool,
}

/// Settings of an [`HttpClient`].
#[must_use]
pub struct HttpClientBuilder {
    resolver: Box<dyn Resolve>,
    dialer: Box<dyn Dial>,
    tls: Tls,
}

/// A request whose destination is decided.
pub(crate) struct Departure {
    pub(crate) origin: Origin,
    /// Those that may be dialled, in order.
    pub(crate) addresses: Vec<IpAddr>,
    /// With a path and query as its URI, and no header `Host`.
    pub(crate) request: Request<OutBody>,
    pub(crate) pace: Pace,
    pub(crate) masks: Masks,
    /// When the last piece of the request was taken.
    pub(crate) progress: Progress,
}

/// When something happened last; clones are the same.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an exchange may take, and how much it may bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) look_up: Duration,
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
    pub(crate) response_bytes: u64,
}

impl Pace {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        Self {
            look_up: limits.connect,
            connect: limits.connect,
            first_byte: limits.idle,
            idle: limits.idle,
            total: limits.total,
            response_bytes: limits.response_bytes,
        }
    }
}

impl HttpClient {
    /// Settings to choose before the client is made.
    pub fn builder() -> HttpClientBuilder {
        HttpClientBuilder {
            resolver: Box::new(resolve::System::default()),
            dialer: Box::new(dial::Tcp),
            tls: Tls::default(),
        }
    }

    /// The addresses of a name, in the order in which they should be tried.
    pub(crate) async fn look_up(&self, name: &str, within: Duration) -> Result<Vec<IpAddr>, EgressError> {
        let failed = |why: String| EgressError::LookUp { host: name.to_owned(), why };
        match tokio::time::timeout(within, self.inner.resolver.resolve(name)).await {
            Err(_) => Err(failed("nobody answered in time".to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok(addresses)) if addresses.is_empty() => Err(failed("it has no address".to_owned())),
            Ok(Ok(addresses)) => Ok(addresses),
        }
    }

    /// Sends a request to one of the addresses, and gives the response once its head is there.
    pub(crate) async fn send(&self, departure: Departure) -> Result<Response<Inbound>, EgressError> {
        let Departure { origin, addresses, mut request, pace, masks, progress } = departure;
        let ends = Instant::now() + pace.total;
        prepare(&mut request, &origin)?;
        let (response, sender, key) = self.exchange(&origin, &addresses, request, (pace, ends, &progress)).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::Protocol { why: "the server speaks another protocol".to_owned() });
        }
        let (mut head, incoming) = response.into_parts();
        // What proves who somebody is for a whole connection is not for the next who has it.
        let bound = head.headers.contains_key(header::WWW_AUTHENTICATE);
        let further = if bound { pool::Further::None } else { pool::Further::Any };
        let back = pool::Back::new(self.inner.clone(), key, sender, further);
        let body = Inbound::new(incoming, &mut head, pace, ends, &masks, back)?;
        tidy(&mut head.headers, &masks.now());
        Ok(Response::from_parts(head, body))
    }

    async fn exchange(
        &self,
        origin: &Origin,
        addresses: &[IpAddr],
        mut request: Request<OutBody>,
        (pace, ends, progress): (Pace, Instant, &Progress),
    ) -> Result<(Response<Incoming>, Sender, Key), EgressError> {
        loop {
            let connection = timeout_at(ends, self.connection(origin, addresses, pace)).await;
            let (mut sender, key, reused) =
                connection.map_err(|_| EgressError::TimedOut { waiting_for: Phase::End })??;
            progress.note();
            let sent = {
                let mut sending = pin!(sender.sender.try_send_request(request));
                loop {
                    let until = ends.min(progress.last() + pace.first_byte);
                    match timeout_at(until, sending.as_mut()).await {
                        Ok(sent) => break sent,
                        // The body of the request goes on.
                        Err(_) if ends.min(progress.last() + pace.first_byte) > until => {}
                        Err(_) => return Err(EgressError::TimedOut { waiting_for: Phase::Response }),
                    }
                }
            };
            match sent {
                Ok(response) => return Ok((response, sender, key)),
                Err(mut failed) => match failed.take_message() {
                    // Closed before anything of the request was written: another connection may do.
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(EgressError::of(failed.error())),
                },
            }
        }
    }

    /// A connection to one of the addresses, one that was used before where there is one.
    async fn connection(
        &self,
        origin: &Origin,
        addresses: &[IpAddr],
        pace: Pace,
    ) -> Result<(Sender, Key, bool), EgressError> {
        let keys = || addresses.iter().map(|address| Key { origin: origin.clone(), address: *address });
        for key in keys() {
            if let Some(sender) = self.inner.pool.take(&key).await {
                return Ok((sender, key, true));
            }
        }
        let mut failure = EgressError::TimedOut { waiting_for: Phase::Connection };
        for key in keys() {
            match tokio::time::timeout(pace.connect, self.connect(&key)).await {
                Ok(Ok(sender)) => return Ok((sender, key, false)),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = EgressError::TimedOut { waiting_for: Phase::Connection },
            }
        }
        Err(failure)
    }

    async fn connect(&self, key: &Key) -> Result<Sender, EgressError> {
        let address = SocketAddr::new(key.address, key.origin.port());
        let connection = self.inner.dialer.dial(address).await;
        let connection = connection.map_err(|error| EgressError::Connect { address, why: error.to_string() })?;
        let connection = self.inner.tls.wrap(&key.origin, connection).await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .handshake(hyper_util::rt::TokioIo::new(connection))
            .await
            .map_err(|error| EgressError::of(&error))?;
        let driver = tokio::spawn(async move {
            // Whoever uses the connection is told what became of it.
            let _ = driver.await;
        });
        Ok(Sender::new(sender, driver))
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClientBuilder {
    /// Looks names up in the place of the system.
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Box::new(resolver);
        self
    }

    /// Makes connections in the place of TCP.
    pub fn dialer(mut self, dialer: impl Dial + 'static) -> Self {
        self.dialer = Box::new(dialer);
        self
    }

    /// Also trusts servers whose certificates go back to this one, in DER.
    pub fn trust(mut self, certificate: impl Into<Vec<u8>>) -> Result<Self, RootsError> {
        self.tls.trust(certificate.into())?;
        Ok(self)
    }

    /// Makes the client.
    pub fn build(self) -> HttpClient {
        let Self { resolver, dialer, tls } = self;
        HttpClient { inner: Arc::new(Inner { resolver, dialer, tls, pool: Pool::default() }) }
    }
}

/// Bytes that the head of a response may have.
const LONGEST_HEAD: usize = 64 << 10;
/// Headers that a response may have.
const MOST_HEADERS: usize = 100;

/// Headers by which some servers take another method or another path than the ones that were decided.
const OF_ANOTHER_REQUEST: [&str; 5] =
    ["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"];

/// Whether a header is the client's own, and nobody else's to say.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    let own = [header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::EXPECT, header::HOST];
    OF_THE_CONNECTION.contains(name)
        || own.contains(name)
        || OF_ANOTHER_REQUEST.contains(&name.as_str())
        || name.as_str().starts_with("proxy-")
}

/// What is between two ends of one connection, and not for guests to say or see.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn prepare(request: &mut Request<OutBody>, origin: &Origin) -> Result<(), EgressError> {
    let headers = request.headers_mut();
    let length = headers.remove(header::CONTENT_LENGTH);
    let ours: Vec<_> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    if headers.len() > MOST_HEADERS {
        return Err(EgressError::RequestHead);
    }
    let host =
        HeaderValue::from_str(&origin.authority()).map_err(|error| EgressError::Protocol { why: error.to_string() })?;
    headers.insert(header::HOST, host);
    // What cannot be read cannot be scrubbed, so whoever asked gets it decoded.
    // A part of something coded cannot be decoded.
    let coding = if headers.contains_key(header::RANGE) { "identity" } else { "gzip" };
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
    // A length without a body would make the next request part of this one.
    if let Some(length) = length.filter(|_| !request.body().is_end_stream()) {
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    Ok(())
}

fn tidy(headers: &mut HeaderMap, scrubber: &Scrubber) {
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
    if scrubber.is_empty() {
        return;
    }
    for value in headers.values_mut() {
        let mut bytes = value.as_bytes().to_vec();
        if scrubber.scrub(&mut bytes)
            && let Ok(scrubbed) = HeaderValue::from_bytes(&bytes)
        {
            *value = scrubbed;
        }
    }
    let names: Vec<_> = headers.keys().filter(|name| scrubber.is_in_lower_case(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
