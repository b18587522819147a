//! h2spec, which tests whether a server speaks HTTP/2 as RFC 9113 says; in Go, and in no distribution.

use std::{fs, process::Command};

use crate::cargo;

/// The last version that the Go module proxy has.
const MODULE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// Installs it in `target/tools`, where its test looks for it. Without a network there is none, and the
/// test says that it tested nothing.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let tools = cargo::root().join("target/tools");
    if tools.join("h2spec").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&tools)?;
    let mut install = Command::new("go");
    install.args(["install", MODULE]).env("GOBIN", &tools).env("GOFLAGS", "-mod=mod");
    if let Err(error) = cargo::run(&mut install) {
        eprintln!("warning: h2spec is not tested: {error:#}");
    }
    Ok(())
}
