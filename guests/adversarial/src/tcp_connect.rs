//! Connects over TCP, through the sockets of WASI and not the standard library, so that the host's error code is seen.
//! A closed network should refuse it.

use std::net::IpAddr;

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

pub(crate) fn connect(host: &str, port: u16) -> Result<(), String> {
    let (family, address) = address(host, port)?;
    establish(family, address).map_err(name)
}

fn establish(family: IpAddressFamily, address: IpSocketAddress) -> Result<(), ErrorCode> {
    let socket = create_tcp_socket(family)?;
    socket.start_connect(&instance_network(), address)?;
    loop {
        match socket.finish_connect() {
            Ok(_streams) => return Ok(()),
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

pub(crate) fn address(host: &str, port: u16) -> Result<(IpAddressFamily, IpSocketAddress), String> {
    match host.parse().map_err(|_| format!("`{host}` is no IP address"))? {
        IpAddr::V4(ip) => {
            let address = ip.octets().into();
            let socket = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address });
            Ok((IpAddressFamily::Ipv4, socket))
        }
        IpAddr::V6(ip) => {
            let socket = IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port,
                flow_info: 0,
                address: ip.segments().into(),
                scope_id: 0,
            });
            Ok((IpAddressFamily::Ipv6, socket))
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn name(code: ErrorCode) -> String {
    code.name().to_owned()
}
