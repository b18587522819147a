//! The command line of a load that has its own server behind a proxy.

use std::net::SocketAddr;

/// Where it asks, and for how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Through {
    /// Where the server listens.
    #[arg(long)]
    pub listen: SocketAddr,
    /// The proxy that hands requests to it.
    #[arg(long)]
    pub through: SocketAddr,
    /// Seconds, all in all.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}
