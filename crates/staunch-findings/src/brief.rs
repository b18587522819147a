//! A finding in a few lines, for people.

use std::fmt;

use staunch_diagnosis::{Finding, Severity};

/// A finding in a few lines: what, the line it was born on, why, what to change.
///
/// `staunch doctor` says more of it.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'f>(pub &'f Finding);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, summary, birth, cause, fix, forecast, guide, .. } = self.0;
        write!(f, "{}: {summary}", name(*severity))?;
        if let Some(birth) = birth {
            write!(f, "\n  born   {}:{}", birth.file, birth.line)?;
        }
        if let Some(cause) = cause {
            write!(f, "\n  why    {}", cause.text)?;
        }
        if let Some(fix) = fix {
            write!(f, "\n  fix    {}", fix.text)?;
        }
        if let Some(forecast) = forecast {
            write!(f, "\n  ahead  {forecast}")?;
        }
        write!(f, "\n  guide  {guide}")
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        _ => "leak",
    }
}
