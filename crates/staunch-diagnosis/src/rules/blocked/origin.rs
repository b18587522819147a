//! What a heap tells of how tasks came to be: the channel that was made for them, and who called the
//! function that started them.
//!
//! A dump shows one line of whoever started a task, and nothing of what it was given. But what is made on
//! the way is allocated, and a heap profile keeps the stack of each allocation: the `go` statement itself
//! allocates where it hands something over, and a channel is an object of [`CHANNEL`] bytes.
//!
//! **Cannot**: see what was never sampled. Then there is no such line, and nothing is said.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::{Frame, Heap, HeapSite, History, Waiting, stack};

use super::site::Site;

/// How large a channel without room is: `hchan` of Go's `runtime/chan.go`, in its size class; from Go 1.23 on
/// it has a field more.
const CHANNEL: RangeInclusive<u64> = 96..=112;

/// The last heap that was seen.
pub(super) fn heap(history: &History) -> Option<&Heap> {
    history.instants().iter().rev().find_map(|it| it.snapshot.heap.as_ref())
}

/// The line on which the function that started the tasks made the channel they wait for: the last one in
/// front of the `go` statement.
pub(super) fn channel<'h>(site: &Site<'_>, heap: &'h Heap) -> Option<&'h Frame> {
    let waits = matches!(site.wait().waiting, Waiting::ChanSend | Waiting::ChanReceive);
    let birth = site.birth.filter(|_| waits)?;
    // Who waits for a channel is as large as the channel.
    let is_wait = |line: &Frame| site.waits.iter().any(|wait| wait.call == line);
    let made =
        heap.sites.iter().filter(|it| is_channel(it)).filter_map(|it| own(&it.frames).next());
    let made = made.filter(|it| it.function == birth.function && it.file == birth.file);
    made.filter(|it| it.line < birth.line && !is_wait(it)).max_by_key(|it| it.line)
}

fn is_channel(site: &HeapSite) -> bool {
    let size = site.allocated_bytes.checked_div(site.allocated_objects);
    size.is_some_and(|size| CHANNEL.contains(&size))
}

/// The line that called the function which started the tasks.
pub(super) fn caller<'h>(site: &Site<'_>, heap: &'h Heap) -> Option<&'h Frame> {
    let birth = site.birth?;
    let mut callers = BTreeMap::<&Frame, u64>::new();
    for allocated in &heap.sites {
        let mut frames = allocated.frames.iter().skip_while(|it| *it != birth).skip(1);
        let caller = frames.next().filter(|it| !stack::is_standard(&it.function));
        if let Some(caller) = caller {
            *callers.entry(caller).or_default() += allocated.allocated_objects;
        }
    }
    callers.into_iter().max_by_key(|(_, objects)| *objects).map(|(caller, _)| caller)
}

/// Without the calls of the runtime that allocate.
fn own(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames.iter().skip_while(|it| stack::package(&it.function) == "runtime")
}
