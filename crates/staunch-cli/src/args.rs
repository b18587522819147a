//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

/// Network services that cannot leak, and a way to find out when others do.
#[derive(Debug, Parser)]
#[command(name = "staunch", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration says, until SIGTERM or SIGINT; a second one cuts who is left.
    Run(Run),
    /// Say everything that is wrong with a configuration.
    Check(Check),
    /// Show what can be configured.
    #[command(subcommand)]
    Config(ConfigPage),
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
    /// Have a running `staunch run` start its successor, the program that is now at its path, and
    /// hand its listening sockets over: no connection is refused. As SIGUSR2 does.
    Upgrade(Upgrade),
    /// Make an API key: print it, for whom it is, and its hash, for `keys` in [policy.keys]. It is
    /// stored nowhere.
    Key(Key),
    /// Find what leaks in a service, and the line. Exit code 0: nothing; 1: findings; 2: it could
    /// not be examined.
    Doctor(Doctor),
    /// See the doctor at work: a small service with one leak after the other, for a quarter of a
    /// minute. Needs nothing. Exit code 0: each was named, and nothing found after the repair; 1:
    /// otherwise.
    Demo(Demo),
    /// The service of the demo.
    #[command(name = "demo-service", hide = true)]
    DemoService,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The configuration file; without it, the embedded default is served: a gateway before a bank
    /// and other things to try, with HTTP on 127.0.0.1:8080, lines on 9000, datagrams on 9001,
    /// admin on 6060.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Upgrade {
    /// Its process id.
    pub(crate) pid: u32,
}

/// What of the configuration is shown.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigPage {
    /// The embedded default, with every key and the reason for it: a file to begin with.
    Default,
    /// Every table and key, as Markdown.
    Reference,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Also look at the files that it names: certificates, keys, tokens and lists of servers are read, and the
    /// access log can be written. Nothing is bound, made or asked.
    #[arg(long)]
    pub(crate) files: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Key {
    /// Whose key it is, as servers and limits know them: 1 to 32 of a-z, 0-9 and -.
    #[arg(value_parser = key_name)]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "staunch doctor [OPTIONS] TARGET...\n       \
                            staunch doctor [OPTIONS] --pid <PID|NAME> [TARGET]...")]
pub(crate) struct Doctor {
    /// `http://HOST:PORT` of a Go service with net/http/pprof or of a Staunch service's admin
    /// endpoint; or what was saved of one process, the oldest first: goroutine dumps and profiles,
    /// heaps, thread dumps and class histograms of a JVM, what `ss` or `netstat` listed, a Staunch
    /// ledger.
    #[arg(value_name = "TARGET", required_unless_present = "pid")]
    pub(crate) targets: Vec<String>,
    /// A process of this machine, by number or name. With a URL of the same process both are looked
    /// at together.
    #[arg(long, value_name = "PID|NAME")]
    pub(crate) pid: Vec<String>,
    /// Has a JVM record where it allocates what stays, by JDK Flight Recorder, as long as it is
    /// watched: its leaks get the line. Costs it a stack trace now and then, and a file in the
    /// temporary folder, which is deleted.
    #[arg(long, requires = "pid")]
    pub(crate) record: bool,
    /// How long to watch what runs.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) period: Duration,
    /// The time between two looks.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub(crate) every: Duration,
    /// The checkout of the program (Go, Java): the lines are quoted, and where the source shows
    /// what to change, there is a patch.
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,
    /// What makes the exit code 1; `critical` is a leak, too.
    #[arg(long, value_name = "SEVERITY", default_value = "leak")]
    pub(crate) fail_on: FailOn,
    /// A TOML file of what not to report, each with its reason.
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// An earlier report (--format json): only what is new is reported.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// A header of each request, for services that want to know who asks.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The leaks to show, by name; all of them otherwise.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Look twice as often.
    #[arg(long)]
    pub(crate) fast: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
    Html,
    Sarif,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FailOn {
    Leak,
    Warning,
}

/// `500ms`, `30s`, `5m`, `1h`.
fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let read = |(unit, seconds): (&str, f64)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok().filter(|time| !time.is_zero())
    };
    let expected = || "a time is a number above 0 with its unit: 500ms, 30s, 5m, 1h".to_owned();
    UNITS.into_iter().find_map(read).ok_or_else(expected)
}

fn key_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    let is_name = (1..=32).contains(&text.len()) && text.chars().all(allowed);
    let expected = || "a name is 1 to 32 of a-z, 0-9 and -".to_owned();
    if is_name { Ok(text.to_owned()) } else { Err(expected()) }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is a name, `:` and a value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "5", "s", "-1s", "0s", "1e99h", "nans"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
