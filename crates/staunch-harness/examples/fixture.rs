//! Runs one of the fixtures under a small load: `fixture NAME [MILLISECONDS]`, such as
//! `fixture go/rows-not-closed/leaky 100` for a call each tenth of a second.

use std::{env, io, time::Duration};

use anyhow::Context;
use staunch_harness::fixture::{Pair, Twin, healthy, pairs};

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let interval = arguments.next().map_or(Ok(100), |it| it.parse())?;
    let twins = |pair: Pair| [Twin::Leaky, Twin::Repaired].map(|twin| pair.program(twin));
    let programs: Vec<_> = pairs()?.into_iter().flat_map(twins).chain(healthy()?).collect();
    let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
    let found = programs.iter().find(|program| program.name == name);
    let program = found.with_context(|| format!("no `{name}`; there are\n{}", names.join("\n")))?;
    let service = program.start()?;
    let _load = service.load(Duration::from_millis(interval))?;
    println!("{name}: pid {}, http://{}", service.pid(), service.address());
    println!("It is called every {interval} ms. Press Enter to end it.");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
