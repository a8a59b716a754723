//! Binds a UDP socket, from which a guest could listen or send.
//! A closed network should refuse it.

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::tcp_connect::{address, name};

pub(crate) fn bind(host: &str, port: u16) -> Result<(), String> {
    let (family, address) = address(host, port)?;
    occupy(family, address).map_err(name)
}

fn occupy(family: IpAddressFamily, address: IpSocketAddress) -> Result<(), ErrorCode> {
    let socket = create_udp_socket(family)?;
    socket.start_bind(&instance_network(), address)?;
    loop {
        match socket.finish_bind() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            settled => return settled,
        }
    }
}
