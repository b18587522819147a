//! The five tables that the kernel keeps its sockets in, the same for both sources.

use super::socket::Protocol;

/// One of the kernel's tables of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
    Unix,
}

impl Table {
    pub(super) const ALL: [Table; 5] =
        [Table::Tcp4, Table::Tcp6, Table::Udp4, Table::Udp6, Table::Unix];

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Table::Tcp4 | Table::Tcp6 => Protocol::Tcp,
            Table::Udp4 | Table::Udp6 => Protocol::Udp,
            Table::Unix => Protocol::Unix,
        }
    }

    pub(super) fn is_ipv6(self) -> bool {
        matches!(self, Table::Tcp6 | Table::Udp6)
    }

    /// Its name in `/proc/net`, and in messages.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Table::Tcp4 => "tcp",
            Table::Tcp6 => "tcp6",
            Table::Udp4 => "udp",
            Table::Udp6 => "udp6",
            Table::Unix => "unix",
        }
    }
}
