//! Resolves a name, which tells a server outside what the guest knows.
//! A closed network should refuse it.

use std::net::{Ipv4Addr, Ipv6Addr};

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddress};

use crate::tcp_connect::name as code_name;

pub(crate) fn resolve(name: &str) -> Result<Vec<String>, String> {
    collect(name).map_err(code_name)
}

fn collect(name: &str) -> Result<Vec<String>, ErrorCode> {
    let answers = resolve_addresses(&instance_network(), name)?;
    let mut addresses = Vec::new();
    loop {
        match answers.resolve_next_address() {
            Ok(Some(address)) => addresses.push(literal(address)),
            Ok(None) => return Ok(addresses),
            Err(ErrorCode::WouldBlock) => answers.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

fn literal(address: IpAddress) -> String {
    match address {
        IpAddress::Ipv4(octets) => Ipv4Addr::from(<[u8; 4]>::from(octets)).to_string(),
        IpAddress::Ipv6(segments) => Ipv6Addr::from(<[u16; 8]>::from(segments)).to_string(),
    }
}
