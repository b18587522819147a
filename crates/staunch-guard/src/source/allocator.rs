//! The program's allocator, as far as it can be asked.

/// What a program has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Bytes that are allocated and not freed.
    pub bytes: u64,
    /// Objects allocated ever; `None` if nobody counts them.
    pub objects: Option<u64>,
}

/// The program's allocator: `Jemalloc` (feature `jemalloc`), or one of your own.
pub trait Allocator: Send + Sync + 'static {
    /// What is allocated now; `None` if it cannot tell. It is asked by the sampler, every other second or five times in `growth_window`:
    /// it must be quick.
    fn allocated(&self) -> Option<Allocated>;

    /// Gives back to the kernel what it keeps for later. May take its time: it is called on a
    /// thread where it may block.
    fn purge(&self);
}
