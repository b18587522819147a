//! `[policy.clients]`: which addresses may ask.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::reader::Section;
use crate::reader::kinds::list_of;

/// Addresses that may ask, or may not. Who is in `deny` may not, even if it is in `allow`, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// \[left out: everybody who is not denied\]
    pub allow: Vec<IpRange>,
    /// \[left out: nobody\]
    pub deny: Vec<IpRange>,
}

/// The addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`, or one address.
///
/// An IPv4 address that is written as IPv6 (`::ffff:10.0.0.7`) is the IPv4 address: a listener on
/// `[::]` sees them so.
///
/// ```
/// use staunch_config::IpRange;
///
/// let range: IpRange = "10.0.0.0/8".parse().unwrap();
/// assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!range.contains("11.0.0.1".parse().unwrap()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpRange {
    first: IpAddr,
    bits: u8,
}

/// What is written is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIpRangeError {
    /// It is neither an address nor an address and a number.
    #[error("must be an address such as `10.0.0.7`, or a range such as `10.0.0.0/8` or `fd00::/8`")]
    Syntax,
    /// The address has other bits than those that count.
    #[error("has bits beyond its first {bits}: the range begins at `{first}/{bits}`")]
    Beyond {
        /// Where the range begins.
        first: IpAddr,
        /// How many bits count.
        bits: u8,
    },
}

impl IpRange {
    /// Whether `address` is one of it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
            (_, address) => first(address, self.bits) == self.first,
        }
    }
}

/// The first address of those that share `bits` bits with `address`.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl FromStr for IpRange {
    type Err = ParseIpRangeError;

    fn from_str(text: &str) -> Result<Self, ParseIpRangeError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| ParseIpRangeError::Syntax)?;
        let (address, mapped) = match written.to_canonical() {
            v4 @ IpAddr::V4(_) if written.is_ipv6() => (v4, 96),
            same => (same, 0),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => Some(bits)
                .filter(is_number)
                .and_then(|bits| bits.parse::<u8>().ok()?.checked_sub(mapped))
                .filter(|bits| *bits <= most)
                .ok_or(ParseIpRangeError::Syntax)?,
        };
        let first = first(address, bits);
        if first != address {
            return Err(ParseIpRangeError::Beyond { first, bits });
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Clients {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let ranges = || list_of("addresses, such as [\"10.0.0.0/8\"]", str::parse::<IpRange>);
        if !section.has("allow") && !section.has("deny") {
            let why = "without it and without `deny` everybody may ask; write one of the two";
            section.missing("allow", why.to_owned());
        }
        let allow = section.written("allow", ranges());
        // Whoever writes that nobody is allowed has not meant everybody.
        if allow.as_ref().is_some_and(Vec::is_empty) {
            let nobody = "must name one at least; deny = [\"0.0.0.0/0\", \"::/0\"] lets nobody ask";
            section.wrong("allow", nobody);
        }
        let deny = section.written("deny", ranges());
        if deny.as_ref().is_some_and(Vec::is_empty) {
            section.wrong("deny", "must name one at least; leave it out to deny nobody");
        }
        Self { allow: allow.unwrap_or_default(), deny: deny.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let range: IpRange = range.parse().unwrap();
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(range.contains(address.parse().unwrap()), expected, "{range} {address}");
            }
        }
    }

    #[test]
    fn what_is_in_a_range() {
        check("10.0.0.7", &["10.0.0.7", "::ffff:10.0.0.7"], &["10.0.0.6", "::10.0.0.7"]);
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]);
        check("10.0.0.128/25", &["10.0.0.128", "10.0.0.255"], &["10.0.0.127", "10.0.1.128"]);
        check("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]);
        check("::/0", &["::1", "fd00::1"], &["1.2.3.4", "::ffff:1.2.3.4"]);
        check("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::", "2001:db7::"]);
        check("::ffff:10.0.0.0/104", &["10.1.1.1"], &["11.0.0.0", "::"]);
    }

    #[test]
    fn what_is_no_range() {
        for bad in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "a/8",
            "::ffff:1.1.1.1/95",
        ] {
            assert_eq!(bad.parse::<IpRange>(), Err(ParseIpRangeError::Syntax), "{bad}");
        }
        let beyond = "10.0.0.7/8".parse::<IpRange>().unwrap_err();
        assert!(beyond.to_string().contains("begins at `10.0.0.0/8`"), "{beyond}");
    }

    proptest! {
        /// Bit by bit is what a range means.
        #[test]
        fn a_range_is_its_first_bits(range: u32, address: u32, bits in 0..=32u8, near in 0..32u32) {
            let address = if near < 8 { address } else { range ^ (1 << near) };
            let same = (0..bits).all(|bit| (range ^ address) >> (31 - bit) & 1 == 0);
            let range = IpRange { first: first(IpAddr::from(range.to_be_bytes()), bits), bits };
            prop_assert_eq!(range.contains(IpAddr::from(address.to_be_bytes())), same);
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn so_is_one_of_ipv6(range: u128, address: u128, bits in 0..=128u8, near in 0..128u32) {
            let address = if near < 8 { address } else { range ^ (1 << near) };
            let v6 = |bits: u128| IpAddr::from(bits.to_be_bytes());
            let same = (0..bits).all(|bit| (range ^ address) >> (127 - bit) & 1 == 0);
            let range = IpRange { first: first(v6(range), bits), bits };
            prop_assume!(v6(address).to_canonical().is_ipv6());
            prop_assert_eq!(range.contains(v6(address)), same);
        }
    }
}
