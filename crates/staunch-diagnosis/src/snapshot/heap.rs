//! What is live on a heap, by where it was allocated or by class.

use std::sync::Arc;

use super::Frame;

/// What is live on a heap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heap {
    /// By allocation site, scaled up from what was sampled.
    pub sites: Vec<HeapSite>,
    /// By class, where the runtime counts so.
    pub classes: Vec<ClassCount>,
    /// The mean number of bytes between two samples; `None` if everything was counted.
    pub sampled_every: Option<u64>,
    /// What a recording has sampled of allocations since the first look; empty without one.
    pub samples: Vec<Sampled>,
}

/// What one line allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct HeapSite {
    /// Where, innermost call first.
    pub frames: Arc<[Frame]>,
    /// Bytes that are live.
    pub live_bytes: u64,
    /// Objects that are live.
    pub live_objects: u64,
    /// Bytes ever allocated.
    pub allocated_bytes: u64,
    /// Objects ever allocated.
    pub allocated_objects: u64,
}

/// Objects of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCount {
    /// Its name, as a programmer writes it.
    pub name: String,
    /// How many there are.
    pub instances: u64,
    /// Their bytes, without what they refer to.
    pub bytes: u64,
}

/// Objects of one class that were allocated by one stack, as far as a recording has sampled them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Their class, as a programmer writes it.
    pub class: String,
    /// Where they were allocated, innermost call first.
    pub frames: Arc<[Frame]>,
    /// How many were seen to be allocated, whatever became of them.
    pub allocated: u64,
    /// How many were allocated while it recorded and are live.
    pub live: u64,
}
