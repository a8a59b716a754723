//! The way out as a test wants it: a resolver and a dialer that tell what they were asked, and requests of the guest
//! `fetcher`.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use casemate::{
    Call, CallError, Connection, Dial, DialFuture, Gate, Grants, HostGrant, HttpClient, HttpClientBuilder, HttpLimits,
    Limits, Resolve, ResolveFuture,
};
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::{fetcher, limits, run, seen, tool_error};

/// What was asked of the resolver and of the dialer, in order.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    looked_up: Arc<Mutex<Vec<String>>>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Asked {
    pub(crate) fn looked_up(&self) -> Vec<String> {
        self.looked_up.lock().unwrap().clone()
    }

    pub(crate) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(SocketAddr::to_string).collect()
    }
}

struct Resolver<F> {
    asked: Asked,
    answer: F,
}

impl<F: Fn(&str, usize) -> Vec<IpAddr> + Send + Sync> Resolve for Resolver<F> {
    fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
        let mut asked = self.asked.looked_up.lock().unwrap();
        asked.push(name.to_owned());
        let before = asked.iter().filter(|known| *known == name).count() - 1;
        Box::pin(std::future::ready(Ok((self.answer)(name, before))))
    }
}

struct Dialer<F> {
    asked: Asked,
    leads_to: F,
}

impl<F: Fn(SocketAddr) -> Option<SocketAddr> + Send + Sync> Dial for Dialer<F> {
    fn dial(&self, address: SocketAddr) -> DialFuture {
        self.asked.dialled.lock().unwrap().push(address);
        let target = (self.leads_to)(address).ok_or_else(|| Error::from(ErrorKind::ConnectionRefused));
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(target?).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

/// A client whose resolver answers with `answer`, of a name and how often it was asked before, and whose dialer connects
/// where `leads_to` says.
pub(crate) fn client(
    answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static,
    leads_to: impl Fn(SocketAddr) -> Option<SocketAddr> + Send + Sync + 'static,
) -> (HttpClientBuilder, Asked) {
    let asked = Asked::default();
    let resolver = Resolver { asked: asked.clone(), answer };
    let dialer = Dialer { asked: asked.clone(), leads_to };
    (HttpClient::builder().resolver(resolver).dialer(dialer), asked)
}

/// A Gate whose every name has these addresses, all of which are the server.
pub(crate) fn outside(server: &Server, addresses: &[&str]) -> (Gate, Asked) {
    let (addresses, own) = (addresses_of(addresses), server.address());
    let (client, asked) = client(move |_, _| addresses.clone(), move |_| Some(own));
    (Gate::builder().http(client.build()).build(), asked)
}

pub(crate) fn addresses_of(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A GET of the guest's.
pub(crate) fn get(url: &str) -> Call {
    get_with(url, &[])
}

/// A GET of the guest's with headers.
pub(crate) fn get_with(url: &str, headers: &[(&str, &str)]) -> Call {
    request("GET", url, headers, None)
}

/// A request of the guest's.
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Call {
    fetcher().call("fetch", json!({"request": parts(method, url, headers, body)}))
}

/// A request as the guest takes it.
pub(crate) fn parts(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Value {
    let headers: Vec<_> = headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"method": method, "url": url, "headers": headers, "body": body})
}

/// Grants of hosts.
#[track_caller]
pub(crate) fn hosts(grants: &[&str]) -> Grants {
    grants.iter().fold(Grants::none(), |all, text| all.host(text.parse::<HostGrant>().unwrap()))
}

/// Limits of HTTP.
pub(crate) fn http(http: HttpLimits) -> Limits {
    limits().http(http).build()
}

/// The response of a request that is answered.
#[track_caller]
pub(crate) fn answer(call: Call, gate: &Gate) -> Value {
    run(call.gate(gate)).result.unwrap()
}

/// What the guest is told of a request that has no response.
#[track_caller]
pub(crate) fn failure(call: Call, gate: &Gate) -> String {
    told(run(call.gate(gate)).result.unwrap_err())
}

#[track_caller]
fn told(error: CallError) -> String {
    match error {
        CallError::Denied(denied) => told(*denied.cause),
        error => tool_error(error).value.as_str().unwrap().to_owned(),
    }
}

/// Tries a request that may not leave: the guest is told so and the reason is in the report and in the one event, which
/// is given back as `EVENT: reason`.
#[track_caller]
pub(crate) fn stopped(call: Call, gate: &Gate) -> String {
    let mut events = gate.subscribe(100);
    let error = run(call.gate(gate)).result.unwrap_err();
    let CallError::Denied(denied) = error else { panic!("not denied: {error:?}") };
    let reason = denied.refused[0].reason.clone().unwrap();
    let guest = told(*denied.cause);
    let events = seen(&mut events);
    let events: Vec<_> = events.iter().map(|(kind, data)| (kind.as_str(), data)).collect();
    match events[..] {
        [("denied", data)] => {
            assert_eq!((guest.as_str(), &data["reason"]), ("ErrorCode::HttpRequestDenied", &json!(reason)));
            format!("denied: {reason}")
        }
        [("error", data)] => {
            assert_eq!((guest.as_str(), &data["message"]), ("ErrorCode::HttpRequestUriInvalid", &json!(reason)));
            assert_eq!(data["kind"], "invalid-input");
            format!("error: {reason}")
        }
        _ => panic!("{events:?}"),
    }
}
