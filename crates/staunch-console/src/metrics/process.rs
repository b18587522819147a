//! What Prometheus wants to know of every process
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::{
    sync::{OnceLock, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustix::time::{ClockId, clock_gettime};
use staunch_kernel::{Process, ProcessError};

/// Adds them, as far as the kernel tells.
pub(super) fn process(registry: &mut Registry) {
    for read in [memory, files, times] {
        if let Err(error) = read(registry, Process::current()) {
            tracing::debug!(%error, "some metrics of the process are missing");
        }
    }
}

fn memory(registry: &mut Registry, process: Process) -> Result<(), ProcessError> {
    let status = process.status()?;
    let mut set = |name, help, bytes: Option<u64>| {
        if let Some(bytes) = bytes {
            gauge(registry, name, help, bytes as f64);
        }
    };
    set("process_resident_memory_bytes", "Memory in RAM", status.rss_bytes);
    set("process_virtual_memory_bytes", "Address space in use", status.virtual_bytes);
    gauge(registry, "process_threads", "Threads", status.threads as f64);
    Ok(())
}

fn files(registry: &mut Registry, process: Process) -> Result<(), ProcessError> {
    gauge(registry, "process_open_fds", "Open file descriptors", process.fd_count()? as f64);
    // No limit is shown as infinity.
    let most = process.limits()?.open_files.soft.map_or(f64::INFINITY, |most| most as f64);
    gauge(registry, "process_max_fds", "File descriptors that can be open", most);
    Ok(())
}

fn times(registry: &mut Registry, process: Process) -> Result<(), ProcessError> {
    let times = process.times()?;
    let cpu: Counter<f64, AtomicU64> = Counter::default();
    cpu.inc_by(times.cpu().as_secs_f64());
    registry.register("process_cpu_seconds", "CPU time used, in user and system", cpu);
    let started = booted() + times.started;
    let help = "When the process started, since 1970";
    gauge(registry, "process_start_time_seconds", help, started.as_secs_f64());
    Ok(())
}

/// When the machine started, since 1970, by the clocks when it is first asked: they would say some
/// microseconds more or less the next time, and who looks for changes would see a restart.
fn booted() -> Duration {
    static BOOTED: OnceLock<Duration> = OnceLock::new();
    *BOOTED.get_or_init(read_booted)
}

fn read_booted() -> Duration {
    let up = clock_gettime(ClockId::Boottime);
    let up = Duration::new(up.tv_sec.cast_unsigned(), up.tv_nsec.cast_unsigned() as u32);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(up)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
