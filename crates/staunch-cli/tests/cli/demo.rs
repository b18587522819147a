//! `staunch demo`, and the doctor on its service.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use staunch_fixtures::{Service, Trap};

use crate::eventually;

fn staunch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_staunch"));
    command.args(arguments);
    command
}

/// The children of a process that live.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_doctor_names_the_birth_line_of_a_leak_in_a_staunch_service() {
    let trap = Trap::find("task-never-ends").unwrap();
    let mut service = Service::start(staunch(&["demo-service"])).unwrap();
    service.switch(trap, true).unwrap();
    let arguments =
        ["doctor", service.admin(), "--for", "2s", "--every", "250ms", "--fail-on", "warning"];
    let output = staunch(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = (1..100).find(|number| trap.is_birth(*number)).unwrap();
    let line = format!("born    {}:{line}\n", trap.file);
    assert!(said.contains(&line), "no `{line}` in {said}");
}

#[test]
fn the_demo_names_each_leak_with_its_line_and_finds_nothing_after_the_repair() {
    let output = staunch(&["demo", "--fast"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for expected in [
        "[1/8] connection-not-closed",
        "fixtures/rust/src/lease_not_returned/leaky.rs:",
        "let lease = world.pool.acquire().await?;\n",
        "found  nothing",
        "8 of 8 mistakes named",
        "nothing found after the repair",
    ] {
        assert!(said.contains(expected), "no `{expected}` in {said}");
    }
}

#[test]
fn an_unknown_leak_is_refused_with_the_names_of_those_there_are() {
    let output = staunch(&["demo", "--only", "rust"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`rust`") && said.contains("buffer-held"), "{said}");
}

#[test]
fn ctrl_c_ends_the_demo_with_nothing_left() {
    let demo = staunch(&["demo"]).stdout(Stdio::piped()).spawn().unwrap();
    let service = eventually("started its service", || {
        children(demo.id()).first().copied().ok_or_else(|| "no child".to_owned())
    });
    // Its handlers of signals are there before its service is.
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("nothing is left running.\n"));
    let is_gone = !std::path::Path::new(&format!("/proc/{service}")).exists();
    assert!(is_gone, "the service has ended and was waited for");
}
