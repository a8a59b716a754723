//! What sort of place an IP address is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What sort of place an IP address is. All but public ones are closed, unless they are granted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AddressClass {
    /// Anywhere on the internet.
    Public,
    /// This machine.
    Loopback,
    /// A network of one's own, that of a carrier included.
    Private,
    /// The nearest network only.
    LinkLocal,
    /// Where clouds tell a machine its own credentials.
    Metadata,
    /// Many machines at once.
    Multicast,
    /// An IPv6 address that stands for a public IPv4 one: mapped, compatible, NAT64, 6to4 or Teredo.
    Translated,
    /// Set apart for something else.
    Reserved,
}

/// The words, as grants, rules and events write them.
const WORDS: [(AddressClass, &str); 8] = [
    (AddressClass::Public, "public"),
    (AddressClass::Loopback, "loopback"),
    (AddressClass::Private, "private"),
    (AddressClass::LinkLocal, "link-local"),
    (AddressClass::Metadata, "metadata"),
    (AddressClass::Multicast, "multicast"),
    (AddressClass::Translated, "translated"),
    (AddressClass::Reserved, "reserved"),
];

impl AddressClass {
    /// The class of `address`. An IPv6 address that stands for an IPv4 one has the class of that one, unless that is
    /// public.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) if METADATA_V6.contains(&address) => Self::Metadata,
            IpAddr::V6(address) => match translated(address).map(of_v4) {
                Some(Self::Public) => Self::Translated,
                Some(class) => class,
                None => of_v6(address),
            },
        }
    }
}

/// Whether it is an IPv6 address that stands for an IPv4 one.
pub(crate) fn is_translated(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if translated(address).is_some())
}

/// Of most clouds; Alibaba's; that of Azure's own agent; Oracle's.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS and Google.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn of_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        // The system takes 0.0.0.0 for itself.
        [127, ..] | [0, 0, 0, 0] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => AddressClass::Private,
        [169, 254, ..] => AddressClass::LinkLocal,
        [224..=239, ..] => AddressClass::Multicast,
        [0 | 240..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => AddressClass::Loopback,
        // Site-local addresses are deprecated, and some networks still have them.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        // Of what is given out, all lies in 2000::/3; parts of that are set apart.
        [0x2001, 0x0000..=0x01ff | 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address that an IPv6 one stands for.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible, mapped, translated by SIIT, NAT64 by its own and by a local prefix, and 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // Teredo writes the client's address inverted.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(class, _)| class == self).map_or("reserved", |(_, word)| word);
        f.write_str(word)
    }
}

/// Not the word of an [`AddressClass`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` is no class of addresses: there is loopback, private, link-local, metadata, multicast, translated and reserved"
)]
pub struct UnknownClass {
    /// What was given.
    pub word: String,
}

impl FromStr for AddressClass {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        let known = WORDS.iter().find(|(_, known)| *known == word);
        known.map(|(class, _)| *class).ok_or_else(|| UnknownClass { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: AddressClass, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(AddressClass::of(address.parse().expect(address)), expected, "{address}");
        }
    }

    #[test]
    fn every_address_has_a_class() {
        use AddressClass as Class;
        check(Class::Public, &["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1"]);
        check(Class::Public, &["2606:4700::1111", "2a00:1450::1"]);
        check(Class::Loopback, &["127.0.0.1", "127.255.255.254", "0.0.0.0", "::1", "::"]);
        check(Class::Private, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1"]);
        check(Class::LinkLocal, &["169.254.0.1", "fe80::1"]);
        check(Class::Metadata, &["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]);
        check(Class::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]);
        check(Class::Reserved, &["0.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "203.0.113.1"]);
        check(Class::Reserved, &["2001:db8::1", "100::1", "4000::1", "2001:20::1"]);
    }

    #[test]
    fn an_address_that_stands_for_another_has_its_class() {
        use AddressClass as Class;
        check(Class::Translated, &["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "64:ff9b:1::1.1.1.1", "2002:101:101::1"]);
        check(Class::Loopback, &["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::"]);
        check(Class::Loopback, &["::ffff:0:127.0.0.1", "2001:0:1:1:1:1:80ff:fffe", "64:ff9b:1:2:3:4:7f00:1"]);
        check(Class::Private, &["::ffff:10.0.0.1", "64:ff9b::c0a8:101"]);
        check(Class::Metadata, &["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]);
    }

    #[test]
    fn a_word_is_read_back() {
        for (class, word) in WORDS {
            assert_eq!((class.to_string().as_str(), word.parse()), (word, Ok(class)));
            assert_eq!(serde_json::to_value(class).expect("plain data"), word);
        }
    }
}
