//! `staunch demo`: a service with one leak after the other, and the doctor who names the line of each.
//!
//! The service is a child process, this binary once more, on loopback; it ends when its standard input
//! is closed, so nothing is left of it however this process ends. Each leak is switched on, watched
//! until it is named, and repaired; at the end all repaired twins run in a new service, in which
//! nothing may be found.

mod examine;
mod page;

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use staunch_diagnosis::Finding;
use staunch_fixtures::{Service, TRAPS, Trap};

use crate::{args::Demo, print, signals::Signals};

use examine::{Doctor, Stopped};

/// How long a leak may stay unnamed.
const PATIENCE: Duration = Duration::from_secs(8);

/// The hidden subcommand that is the service.
const SERVICE: &str = "demo-service";

pub(crate) fn demo(args: &Demo) -> ExitCode {
    let traps = match chosen(&args.only) {
        Ok(traps) => traps,
        Err(error) => return fail(&error),
    };
    let shown = run(&traps, args.fast);
    match shown {
        Ok(is_right) => u8::from(!is_right).into(),
        Err(error) => fail(&error),
    }
}

/// The service, until its standard input ends.
pub(crate) fn service() -> ExitCode {
    match staunch_fixtures::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.into()),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if error.is::<Stopped>() {
        print::line(format_args!("\nEnded; nothing is left running."));
    } else {
        print::complaint(format_args!("staunch demo: {}", print::causes(error)));
    }
    ExitCode::FAILURE
}

fn chosen(only: &[String]) -> anyhow::Result<Vec<&'static Trap>> {
    if only.is_empty() {
        return Ok(TRAPS.iter().collect());
    }
    let names = || TRAPS.iter().map(|trap| trap.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        Trap::find(name)
            .with_context(|| format!("there is no leak called `{name}`; there are {}", names()))
    };
    only.iter().map(find).collect()
}

/// Whether every leak was named, and nothing found of the repaired service.
fn run(traps: &[&'static Trap], is_fast: bool) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::register()?
    };
    let mut doctor = Doctor::new(runtime, signals, is_fast);
    let begun = Instant::now();
    let mut named = 0;
    {
        let mut service = start()?;
        print::text(&page::opening(traps.len(), service.admin()));
        for (number, trap) in (1..).zip(traps) {
            print::text(&page::switched_on(number, traps.len(), trap));
            named += usize::from(name(trap, &mut service, &mut doctor)?);
        }
    }
    let left = examine_repaired(traps, &mut doctor)?;
    print::text(&page::ending(named, traps.len(), &left, begun.elapsed()));
    Ok(named == traps.len() && left.is_empty())
}

fn start() -> anyhow::Result<Service> {
    let own = std::env::current_exe().context("cannot find this program to run it again")?;
    let mut command = Command::new(own);
    command.arg(SERVICE);
    Service::start(command).context("cannot start the service")
}

/// Switches a leak on until it is named.
fn name(trap: &Trap, service: &mut Service, doctor: &mut Doctor) -> anyhow::Result<bool> {
    service.switch(trap, true)?;
    let begun = Instant::now();
    let named = loop {
        let findings = doctor.look(service.admin())?;
        let named = findings.into_iter().find(|finding| is_of(finding, trap));
        if named.is_some() || begun.elapsed() > PATIENCE {
            break named;
        }
    };
    let took = begun.elapsed();
    service.switch(trap, false)?;
    match &named {
        Some(finding) => print::text(&page::named(trap, finding, took)),
        None => print::text(&page::missed(took)),
    }
    Ok(named.is_some())
}

fn is_of(finding: &Finding, trap: &Trap) -> bool {
    let birth = finding.birth.as_ref();
    birth.is_some_and(|birth| birth.file == trap.file && trap.is_birth(birth.line))
}

/// What is found of a service in which everything is repaired.
fn examine_repaired(traps: &[&'static Trap], doctor: &mut Doctor) -> anyhow::Result<Vec<Finding>> {
    print::text(page::REPAIRED);
    let mut service = start()?;
    for trap in traps {
        service.switch(trap, false)?;
    }
    doctor.look(service.admin())
}
