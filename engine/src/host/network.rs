//! The network where it is closed: everything links, nothing leaves, and each attempt is noted.

#[cfg(not(feature = "http"))]
use http::Request;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{self, IpAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};
#[cfg(not(feature = "http"))]
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpHooks};

use super::{Host, Refusals, RefusedAction};

/// `wasi:http` whose every request is denied.
#[cfg(not(feature = "http"))]
pub(crate) struct ClosedHttp(pub(crate) Refusals);

#[cfg(not(feature = "http"))]
type Transfer = Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>;
#[cfg(not(feature = "http"))]
type Exchange = Result<(http::Response<WasiBody>, Transfer), wasmtime_wasi_http::Error>;

#[cfg(not(feature = "http"))]
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

/// `wasi:sockets` where sockets are made and names are looked up: each attempt is noted, and wasmtime-wasi refuses it.
pub(crate) struct ClosedSockets;

pub(crate) struct ClosedSocketsView<'a> {
    sockets: WasiSocketsCtxView<'a>,
    refusals: Refusals,
}

impl HasData for ClosedSockets {
    type Data<'a> = ClosedSocketsView<'a>;
}

impl ClosedSockets {
    pub(crate) fn view(host: &mut Host) -> ClosedSocketsView<'_> {
        let refusals = host.refusals.clone();
        ClosedSocketsView { sockets: host.sockets(), refusals }
    }
}

impl network::Host for ClosedSocketsView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<network::ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets, error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<network::ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets, error)
    }
}

impl network::HostNetwork for ClosedSocketsView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl tcp_create_socket::Host for ClosedSocketsView<'_> {
    fn create_tcp_socket(&mut self, family: network::IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.refusals.add(RefusedAction::Socket, "tcp".to_owned(), None);
        self.sockets.create_tcp_socket(family)
    }
}

impl udp_create_socket::Host for ClosedSocketsView<'_> {
    async fn create_udp_socket(&mut self, family: network::IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.refusals.add(RefusedAction::Socket, "udp".to_owned(), None);
        self.sockets.create_udp_socket(family).await
    }
}

impl ip_name_lookup::Host for ClosedSocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ip_name_lookup::ResolveAddressStream>> {
        self.refusals.add(RefusedAction::Resolve, name.clone(), None);
        ip_name_lookup::Host::resolve_addresses(&mut self.sockets, network, name)
    }
}

impl ip_name_lookup::HostResolveAddressStream for ClosedSocketsView<'_> {
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
