//! `staunch config` and `staunch schema`: what can be configured.

use std::process::ExitCode;

use staunch_config::Config;

use crate::{args::ConfigPage, print};

pub(crate) fn show(page: ConfigPage) -> ExitCode {
    match page {
        ConfigPage::Default => print::text(Config::default_text()),
        ConfigPage::Reference => print::text(&Config::reference()),
    }
    ExitCode::SUCCESS
}

pub(crate) fn schema() -> ExitCode {
    print::text(&format!("{:#}\n", Config::schema()));
    ExitCode::SUCCESS
}
