//! jemalloc, by its control interface (`jemalloc(3)`, "MALLCTL NAMESPACE").

use std::{fmt, hint::black_box};

use tikv_jemalloc_ctl::{
    Access, AsName, Mib, epoch, epoch_mib, stats, thread, thread::ThreadLocal,
};

use super::allocator::{Allocated, Allocator};

/// All arenas together: `MALLCTL_ARENAS_ALL`.
const ALL_ARENAS: usize = 4096;

/// The program's jemalloc.
///
/// # Examples
/// ```
/// use staunch_guard::{GuardOptions, Jemalloc};
/// use std::sync::Arc;
///
/// #[global_allocator]
/// static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
///
/// let allocator = Arc::new(Jemalloc::new()?);
/// let options = GuardOptions { allocator: Some(allocator), ..GuardOptions::default() };
/// # let _ = options;
/// # Ok::<(), staunch_guard::JemallocError>(())
/// ```
pub struct Jemalloc {
    epoch: epoch_mib,
    allocated: stats::allocated_mib,
    small: Mib<[usize; 5]>,
    large: Mib<[usize; 5]>,
    cached: Mib<[usize; 4]>,
    dirty: Mib<[usize; 3]>,
    muzzy: Mib<[usize; 3]>,
}

/// jemalloc cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JemallocError {
    /// Memory comes from somewhere else.
    #[error(
        "an allocation of {bytes} bytes did not reach jemalloc: make tikv_jemallocator::Jemalloc the \
         global allocator, or leave `GuardOptions::allocator` empty"
    )]
    NotGlobal {
        /// What was allocated to find out.
        bytes: usize,
    },
    /// It does not know a name.
    #[error("jemalloc does not answer ({0}): build it with statistics")]
    Control(tikv_jemalloc_ctl::Error),
}

impl Jemalloc {
    /// Asks whether it is the global allocator.
    ///
    /// # Errors
    /// [`JemallocError`]
    pub fn new() -> Result<Jemalloc, JemallocError> {
        const BYTES: usize = 1 << 16;
        let read = || thread::allocatedp::read().map(ThreadLocal::get);
        let before = read().map_err(JemallocError::Control)?;
        drop(black_box(Vec::<u8>::with_capacity(BYTES)));
        let after = read().map_err(JemallocError::Control)?;
        if after.wrapping_sub(before) < BYTES as u64 {
            return Err(JemallocError::NotGlobal { bytes: BYTES });
        }
        Jemalloc::find_names().map_err(JemallocError::Control)
    }

    fn find_names() -> Result<Jemalloc, tikv_jemalloc_ctl::Error> {
        let all = |name: &[u8]| {
            let mut mib: Mib<[usize; 5]> = name.name().mib()?;
            mib[2] = ALL_ARENAS;
            Ok(mib)
        };
        let mut cached: Mib<[usize; 4]> = b"stats.arenas.0.tcache_bytes\0".name().mib()?;
        cached[2] = ALL_ARENAS;
        Ok(Jemalloc {
            epoch: epoch::mib()?,
            allocated: stats::allocated::mib()?,
            small: all(b"stats.arenas.0.small.nmalloc\0")?,
            large: all(b"stats.arenas.0.large.nmalloc\0")?,
            cached,
            dirty: b"arena.0.dirty_decay_ms\0".name().mib()?,
            muzzy: b"arena.0.muzzy_decay_ms\0".name().mib()?,
        })
    }
}

impl Allocator for Jemalloc {
    fn allocated(&self) -> Option<Allocated> {
        self.epoch.advance().ok()?;
        let counts: [Result<u64, _>; 2] = [self.small.read(), self.large.read()];
        let objects = match counts {
            [Ok(small), Ok(large)] => Some(small + large),
            _ => None,
        };
        // Freed ones that threads keep for the next are counted as handed out.
        let cached: usize = self.cached.read().unwrap_or(0);
        let bytes = self.allocated.read().ok()?.saturating_sub(cached);
        Some(Allocated { bytes: bytes as u64, objects })
    }

    /// An arena whose unused pages may wait for no time gives them back at once; then they may wait
    /// as long as before.
    fn purge(&self) {
        let arenas: u32 = b"arenas.narenas\0".name().read().unwrap_or(0);
        for arena in 0..arenas {
            for decay in [self.dirty, self.muzzy] {
                let mut decay = decay;
                decay[1] = arena as usize;
                // One that was never used has no time to set.
                let before: Result<isize, _> = decay.read();
                if let Ok(before) = before
                    && decay.write(0_isize).is_ok()
                {
                    let _ = decay.write(before); // it took the other one
                }
            }
        }
    }
}

impl fmt::Debug for Jemalloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jemalloc").finish_non_exhaustive()
    }
}
