//! What time it is, as answers say it (RFC 9110, 5.6.7): written anew once a second.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

thread_local! {
    static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Lends the time as the value of a header.
pub(crate) fn with_now<R>(work: impl FnOnce(&[u8]) -> R) -> R {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(written, text)| {
        if *written != second {
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        work(text.as_bytes())
    })
}
