//! Listening sockets that somebody else has had.

use std::{os::fd::AsFd, time::Duration};

use rustix::net::sockopt;
use staunch_net::{InheritedSockets, SocketOptions, UnattachedListener};

use crate::harness::{loopback, unlimited};

/// Options of whoever takes over are set when it does: until then the other may still accept.
#[staunch::test]
async fn options_change_with_the_one_who_accepts() {
    let options = SocketOptions {
        linger_zero: true,
        user_timeout: Some(Duration::from_secs(7)),
        notsent_lowat: Some(4096),
        keepalive: None,
        ..SocketOptions::default()
    };
    let before = UnattachedListener::bind(&loopback(), &options, unlimited()).unwrap();
    let socket = before.share().unwrap();
    let seen = || {
        (
            sockopt::socket_linger(&socket).unwrap(),
            sockopt::tcp_user_timeout(&socket).unwrap(),
            sockopt::socket_keepalive(&socket).unwrap(),
        )
    };
    assert_eq!(seen(), (Some(Duration::ZERO), 7000, false));
    let take = || {
        let mut sockets = InheritedSockets::default();
        sockets.add(socket.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let (options, endpoint) = (SocketOptions::default(), before.endpoint());
        let mut each = UnattachedListener::bind_or_inherit_each(
            endpoint,
            &options,
            unlimited(),
            2,
            &mut sockets,
        )
        .unwrap();
        assert_eq!((each.len(), sockets.len()), (2, 0));
        each.pop().unwrap()
    };
    drop(take()); // it came to nothing
    assert_eq!(seen(), (Some(Duration::ZERO), 7000, false));
    let after = take().attach().unwrap();
    assert_eq!(seen(), (None, 0, true));
    drop((before, after, socket));
}
