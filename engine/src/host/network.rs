//! The network, closed: everything links, nothing leaves, and each attempt is noted.

use http::Request;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup;
use wasmtime_wasi::p2::bindings::sockets::network::{self, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpHooks};

use super::{Host, Refusals, RefusedAction};

/// Sockets can be made and asked to connect, so that a guest gets the ordinary error at the ordinary place.
pub(crate) fn close(wasi: &mut WasiCtxBuilder, refusals: &Refusals) {
    let refusals = refusals.clone();
    wasi.allow_ip_name_lookup(false).socket_addr_check(move |address, _use| {
        refusals.add(RefusedAction::Connect, address.to_string(), None);
        Box::pin(std::future::ready(false))
    });
}

/// `wasi:http` whose every request is denied.
pub(crate) struct ClosedHttp(pub(crate) Refusals);

type Transfer = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;
type Exchange = Result<(http::Response<WasiBody>, Transfer), wasmtime_wasi_http::Error>;

impl WasiHttpHooks for ClosedHttp {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _transfer: Transfer,
    ) -> Box<dyn Future<Output = Exchange> + Send> {
        self.0.add(RefusedAction::Request, format!("{} {}", request.method(), request.uri()), None);
        Box::new(std::future::ready(Err(wasmtime_wasi_http::Error::HttpRequestDenied)))
    }
}

/// `wasi:sockets/ip-name-lookup`, which notes the names that it does not resolve.
pub(crate) struct ClosedLookup;

pub(crate) struct ClosedLookupView<'a> {
    sockets: WasiSocketsCtxView<'a>,
    refusals: Refusals,
}

impl HasData for ClosedLookup {
    type Data<'a> = ClosedLookupView<'a>;
}

impl ClosedLookup {
    pub(crate) fn view(host: &mut Host) -> ClosedLookupView<'_> {
        let refusals = host.refusals.clone();
        ClosedLookupView { sockets: host.sockets(), refusals }
    }
}

impl network::Host for ClosedLookupView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<network::ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets, error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<network::ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets, error)
    }
}

impl network::HostNetwork for ClosedLookupView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl ip_name_lookup::Host for ClosedLookupView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ip_name_lookup::ResolveAddressStream>> {
        self.refusals.add(RefusedAction::Resolve, name.clone(), None);
        ip_name_lookup::Host::resolve_addresses(&mut self.sockets, network, name)
    }
}

impl ip_name_lookup::HostResolveAddressStream for ClosedLookupView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        self.sockets.resolve_next_address(stream)
    }

    fn subscribe(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.sockets.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ip_name_lookup::ResolveAddressStream>) -> wasmtime::Result<()> {
        ip_name_lookup::HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}
