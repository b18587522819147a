//! Makes `fixtures/captures` again: what tools say of four leaking services, saved for tests and
//! examples that have no toolchain. Takes two minutes, so that the ages in dumps are minutes.
//!
//! Give it a `CARGO_TARGET_DIR` that may be read by everybody: profiles name the path of their binary.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use staunch_harness::fixture::{Running, Twin, pair, root};

/// Calls before each of the instants, and how long they are apart.
const CALLS: [usize; 3] = [2, 4, 4];
const APART: Duration = Duration::from_secs(65);

/// Lines that are kept of a class histogram.
const CLASSES: usize = 25;

fn main() -> anyhow::Result<()> {
    let all = [
        ("go/connection-not-closed", go as fn(&str) -> anyhow::Result<()>),
        ("go/rows-not-closed", go),
        ("java/close-wait", java_sockets),
        ("java/thread-blocked", java_threads),
    ];
    thread::scope(|scope| {
        let threads = all.map(|(name, capture)| scope.spawn(move || capture(name)));
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a capture panicked"),
        })
    })
}

/// Goroutines and sockets at three instants, and the heap before and after.
fn go(name: &str) -> anyhow::Result<()> {
    let program = pair(name)?.program(Twin::Leaky).with_env("MEMPROFILERATE", "4096");
    let (service, folder) = (program.start()?, folder(name)?);
    fs::write(folder.join("heap-0.pb.gz"), service.page("/debug/pprof/heap?gc=1")?)?;
    at_instants(&service, |instant| {
        for debug in [1, 2] {
            let page = service.page(&format!("/debug/pprof/goroutine?debug={debug}"))?;
            fs::write(folder.join(format!("goroutine-{instant}.debug{debug}.txt")), page)?;
        }
        Ok(fs::write(folder.join(format!("ss-{instant}.txt")), sockets(&service)?)?)
    })?;
    fs::write(folder.join("heap-2.pb.gz"), service.page("/debug/pprof/heap?gc=1")?)?;
    service.stop()
}

/// Sockets, and the classes of which there is most, at three instants.
fn java_sockets(name: &str) -> anyhow::Result<()> {
    let (service, folder) = (pair(name)?.program(Twin::Leaky).start()?, folder(name)?);
    let pid = service.pid().to_string();
    at_instants(&service, |instant| {
        fs::write(folder.join(format!("ss-{instant}.txt")), sockets(&service)?)?;
        let classes = output(Command::new("jcmd").args([&pid, "GC.class_histogram"]))?;
        let classes: String = classes.split_inclusive('\n').take(CLASSES).collect();
        Ok(fs::write(folder.join(format!("histogram-{instant}.txt")), classes)?)
    })?;
    service.stop()
}

/// Threads at three instants.
fn java_threads(name: &str) -> anyhow::Result<()> {
    let (service, folder) = (pair(name)?.program(Twin::Leaky).start()?, folder(name)?);
    let pid = service.pid().to_string();
    at_instants(&service, |instant| {
        let threads = output(Command::new("jstack").arg(&pid))?;
        Ok(fs::write(folder.join(format!("jstack-{instant}.txt")), threads)?)
    })?;
    service.stop()
}

/// Calls the service, and captures what `save` does, three times.
fn at_instants(
    service: &Running,
    save: impl Fn(usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for (instant, calls) in CALLS.into_iter().enumerate() {
        if instant > 0 {
            thread::sleep(APART);
        }
        service.work(calls)?;
        save(instant)?;
    }
    Ok(())
}

/// What `ss -tanp` says of the service; other processes are none of our business.
fn sockets(service: &Running) -> anyhow::Result<String> {
    let all = output(Command::new("ss").arg("-tanp"))?;
    let own = format!("pid={},", service.pid());
    let is_wanted = |(nth, line): &(usize, &str)| *nth == 0 || line.contains(&own);
    Ok(all.split_inclusive('\n').enumerate().filter(is_wanted).map(|(_, line)| line).collect())
}

fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = root().join("captures").join(Path::new(&name.replace('/', "-")));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
