//! Who hears of requests that the server answers by itself.

use std::{fmt, net::SocketAddr, sync::Arc};

use hyper::{Request, StatusCode};

use super::body::RequestBody;

/// A request that the server has refused: its head is not what a head may be, or did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused<'r> {
    /// That of the answer.
    pub status: StatusCode,
    /// The client's address; `None` over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// What was asked for, if it could be read.
    pub asked: Option<&'r Request<RequestBody>>,
}

type Hear = dyn Fn(&Refused<'_>) + Send + Sync;

/// Nobody, or somebody who counts and logs them.
#[derive(Clone, Default)]
pub(super) struct Hears(Option<Arc<Hear>>);

impl Hears {
    pub(super) fn new(hears: impl Fn(&Refused<'_>) + Send + Sync + 'static) -> Hears {
        Hears(Some(Arc::new(hears)))
    }

    pub(super) fn tell(&self, refused: &Refused<'_>) {
        if let Some(hears) = &self.0 {
            hears(refused);
        }
    }
}

impl fmt::Debug for Hears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hears").field(&self.0.is_some()).finish()
    }
}
