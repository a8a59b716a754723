//! `wasi:http` of a run's agent: an exchange is one effect, admitted when its request is finished, and ready only with its
//! whole response.

use bytes::Bytes;
use casemate_policy::RequestLine;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, HostFutureIncomingResponse as _};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpView as _};

use super::{Http, Refused, leaving, tools};
use crate::effect::Outcome;
use crate::gate::{Outgoing, Scope, Unanswered, Whole};
use crate::host::{Host, Refusals};
use crate::journal::{Deed, DeedKind, Exchange, Journal, Place, Recalled};
use crate::json::ArgumentsHash;
use crate::limits::Limits;

const VERSION: &str = "0.2.12";

/// Puts in the place of some functions of `wasi:http` the same ones, which also remember what belongs to what.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(&format!("wasi:http/outgoing-handler@{VERSION}"))?.func_wrap("handle", handle)?;
    let mut types = linker.instance(&format!("wasi:http/types@{VERSION}"))?;
    types.func_wrap("[method]future-incoming-response.subscribe", subscribe)?;
    types.resource(
        "future-incoming-response",
        ResourceType::host::<HostFutureIncomingResponse>(),
        |mut store, of| {
            let host = store.data_mut();
            host.exchanges.dropped(of);
            host.http().drop(Future::new_own(of))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

type Future = Resource<HostFutureIncomingResponse>;

fn handle(
    mut store: StoreContextMut<'_, Host>,
    (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>),
) -> wasmtime::Result<(Result<Future, ErrorCode>,)> {
    let host = store.data_mut();
    let handled = host.http().handle(request, options);
    let begun = host.hooks.begun.take();
    match handled {
        Ok(future) => {
            if let Some(exchange) = begun {
                host.exchanges.begun(future.rep(), exchange);
            }
            Ok((Ok(future),))
        }
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn subscribe(mut store: StoreContextMut<'_, Host>, (future,): (Future,)) -> wasmtime::Result<(Resource<DynPollable>,)> {
    let host = store.data_mut();
    let of = future.rep();
    let pollable = host.http().subscribe(future)?;
    host.exchanges.watched(of, pollable.rep());
    Ok((pollable,))
}

/// What a request is: for the tools, for the network, or for nobody.
pub(super) enum Asked {
    Tool { line: RequestLine, request: Request<WasiBody> },
    Network(Outgoing),
    Refused(Refused),
}

impl Http {
    /// Begins an exchange of a run's agent.
    pub(super) fn exchange(
        &mut self,
        journal: Journal,
        asked: Asked,
        held: Option<OwnedSemaphorePermit>,
    ) -> impl std::future::Future<Output = Result<Response<WasiBody>, Error>> + Send + use<> {
        let place = journal.place();
        let exchange = Exchange::new(&place, held);
        self.begun = Some(exchange.clone());
        let (scope, refusals, limits) = (self.scope.clone(), self.refusals.clone(), self.limits);
        let ended = exchange.clone();
        let answer = self.handover.run(async move {
            let whole = whole(&scope, &refusals, &limits, &place, asked).await;
            journal.durable().await;
            ended.end(&journal);
            whole
        });
        async move {
            let whole = answer.await.ok_or(Error::ConnectionTerminated)?;
            exchange.delivered().await;
            whole.map(|response| response.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
        }
    }
}

/// The whole exchange, or what was recorded of it.
async fn whole(
    scope: &Scope,
    refusals: &Refusals,
    limits: &Limits,
    place: &Place,
    asked: Asked,
) -> Result<Response<Bytes>, Error> {
    let most = usize::try_from(limits.http.request_bytes).unwrap_or(usize::MAX);
    match asked {
        Asked::Tool { line, request } => {
            let (head, body) = request.into_parts();
            let body = match collected(body, most).await {
                Ok(body) => body,
                Err(error) => return broken_off(scope, place, &line, error).await,
            };
            let meant = tools::Meant::new(scope, &line, &head, &body, limits);
            let past = match place.recall(deed(&line, head.uri.query(), &head.headers, &body)).await {
                Recalled::Ended(end) => return Ok(meant.repeated(&end.what)),
                Recalled::Unfinished(past) => Some(past),
                Recalled::New => None,
            };
            Ok(meant.made(scope, refusals, place.id, past).await)
        }
        Asked::Network(mut outgoing) => {
            let body = match collected(outgoing.body, most).await {
                Ok(body) => body,
                Err(error) => return broken_off(scope, place, &outgoing.line, error).await,
            };
            let deed = deed(&outgoing.line, outgoing.query.as_deref(), &outgoing.headers, &body);
            outgoing.body = leaving(Full::new(body).map_err(|never| match never {}).boxed_unsync());
            let answer = match place.recall(deed).await {
                Recalled::Ended(end) => Whole::recorded(&end.what),
                Recalled::Unfinished(past) => scope.fetch_whole(place.id, Some(past), outgoing).await,
                Recalled::New => scope.fetch_whole(place.id, None, outgoing).await,
            };
            answer.map(Whole::into_response).map_err(|outcome| super::told(&Unanswered::Stopped(outcome)))
        }
        Asked::Refused(Refused { authority, outcome, error }) => {
            refused(scope, place, &authority, "refused", outcome).await;
            Err(error)
        }
    }
}

/// A request that the agent did not finish, or that is too long.
async fn broken_off(scope: &Scope, place: &Place, line: &RequestLine, error: Error) -> Result<Response<Bytes>, Error> {
    let reason = "the body of the request broke off, or is too long".to_owned();
    refused(scope, place, &line.to_string(), "broken off", Outcome::InvalidInput(reason)).await;
    Err(error)
}

/// What is wrong with a request is seen again on replay; that it is said once, and when, is what is recorded.
async fn refused(scope: &Scope, place: &Place, target: &str, why: &str, outcome: Outcome) {
    let deed = Deed::new(DeedKind::Exchange, target, &json!(why));
    if let Recalled::New = place.recall(deed).await {
        scope.refuse_exchange(place.id, target, outcome);
    }
}

fn deed(line: &RequestLine, query: Option<&str>, headers: &http::HeaderMap, body: &Bytes) -> Deed {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let arguments = json!({"query": query, "headers": headers, "body": blake3::hash(body).to_hex().as_str()});
    Deed { kind: DeedKind::Exchange, name: line.to_string(), hash: ArgumentsHash::of(&arguments) }
}

async fn collected<B>(body: B, most: usize) -> Result<Bytes, Error>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::HttpRequestBodySize(Some(most as u64))),
        Err(_) => Err(Error::ConnectionTerminated),
    }
}
