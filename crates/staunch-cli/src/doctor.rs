//! `staunch doctor`: what leaks in a service, and where.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use staunch_diagnosis::{Options, Severity};
use staunch_doctor::{
    Checkout, Detector, Format, Known, Plan, Progress, Report, Seen, Target, chain, watch,
};
use staunch_scope::Context;

use crate::{
    args::{Doctor, FailOn, ReportFormat},
    print,
    signals::Signals,
};

/// It could not be examined.
const CANNOT: u8 = 2;

pub(crate) fn doctor(args: &Doctor) -> ExitCode {
    match examine(args) {
        Ok(report) => {
            print::text(&report.write(format(args.format)));
            let severity = match args.fail_on {
                FailOn::Leak => Severity::Leak,
                FailOn::Warning => Severity::Warning,
            };
            match report.detector() {
                Detector::Awake => u8::from(report.has(severity)).into(),
                Detector::Blind => CANNOT.into(),
            }
        }
        Err(error) => {
            print::complaint(format_args!("staunch doctor: {}", chain(error.as_ref())));
            CANNOT.into()
        }
    }
}

fn format(format: ReportFormat) -> Format {
    match format {
        ReportFormat::Text => Format::Text,
        ReportFormat::Json => Format::Json,
        ReportFormat::Html => Format::Html,
        ReportFormat::Sarif => Format::Sarif,
    }
}

fn examine(args: &Doctor) -> anyhow::Result<Report> {
    let mut known = Known::default();
    if let Some(file) = &args.baseline {
        known = known.baseline(file)?;
    }
    if let Some(file) = &args.ignore {
        known = known.ignore(file)?;
    }
    let source = args.source.as_deref().map(Checkout::open).transpose()?;
    let plan = plan(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(look(plan))?;
    let report = Report::of(&seen, &Options::default(), &known);
    Ok(match source {
        Some(source) => report.with_source(&source),
        None => report,
    })
}

fn plan(args: &Doctor) -> anyhow::Result<Plan> {
    let named = args.targets.iter().map(|text| Target::parse(text));
    let processes = args.pid.iter().map(|text| Target::process(text));
    Ok(Plan {
        targets: named.chain(processes).collect::<Result<_, _>>()?,
        period: args.period,
        every: args.every,
        headers: args.header.clone(),
        records: args.record,
    })
}

/// Watches until it is over, or SIGINT or SIGTERM says that it is long enough.
async fn look(plan: Plan) -> anyhow::Result<Vec<Seen>> {
    let (context, enough) = Context::background().with_cancel();
    let mut signals = Signals::register()?;
    let bar = progress_bar(plan.period);
    let shown = bar.clone();
    let mut watching =
        std::pin::pin!(watch(plan, &context, move |progress| show(&shown, progress)));
    let seen = tokio::select! {
        seen = &mut watching => seen,
        _ = signals.next() => {
            enough.cancel();
            watching.await
        }
    };
    bar.finish_and_clear();
    Ok(seen?)
}

/// On a terminal only: whoever reads the output of a program wants none.
fn progress_bar(period: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(period.as_millis().try_into().unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("watching {bar:30} {msg}  Ctrl-C: enough");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.elapsed.as_millis().try_into().unwrap_or(u64::MAX));
    let (elapsed, period) = (progress.elapsed.as_secs(), progress.period.as_secs());
    bar.set_message(format!("{elapsed} of {period} s, {} looks", progress.looks));
}
