//! What a run costs the process itself.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of this process so far.
pub fn time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned() as u32)
}
