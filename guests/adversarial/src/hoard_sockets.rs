//! Makes sockets and closes none: each would be a file descriptor of the host's process.
//! A closed network should refuse the first one.

use std::mem::forget;

use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// How many sockets it got before the first error.
pub(crate) fn hoard(count: u32) -> u32 {
    for made in 0..count {
        match create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => forget(socket),
            Err(_refused) => return made,
        }
    }
    count
}
