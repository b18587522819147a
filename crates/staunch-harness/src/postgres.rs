//! PostgreSQL, as Debian packages it.

use std::{
    fs::OpenOptions,
    io::Write,
    net::TcpStream,
    os::unix::{
        fs::{OpenOptionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, bail};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::{child::Server, port::free_port};

/// A PostgreSQL server with an empty database, `postgres`, and a superuser of that name without a
/// password.
#[derive(Debug)]
pub struct PostgresServer {
    /// `None` while it is down.
    server: Option<Server>,
    port: u16,
    settings: Vec<String>,
    folder: TempDir,
    /// Kept for the next one, as long as there is any.
    _template: Arc<Template>,
}

/// The files of an empty server. `initdb` takes seconds of CPU to make them, a copy does not.
#[derive(Debug)]
struct Template {
    folder: TempDir,
}

impl Template {
    /// The one of this process; made if there is none.
    fn shared() -> anyhow::Result<Arc<Template>> {
        static SHARED: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = shared.upgrade() {
            return Ok(template);
        }
        let template = Arc::new(Template::make()?);
        *shared = Arc::downgrade(&template);
        Ok(template)
    }

    fn make() -> anyhow::Result<Template> {
        let template = Template { folder: owned_folder()? };
        let mut initdb = as_server(&binaries()?.join("initdb"))?;
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--wal-segsize=1", "-D"]);
        run(initdb.arg(template.data()))?;
        Ok(template)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl PostgresServer {
    /// Starts it, with settings such as `max_connections=50`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start: with what it said.
    pub fn start(settings: &[&str]) -> anyhow::Result<PostgresServer> {
        PostgresServer::prepare(settings)?.started()
    }

    /// Starts one that speaks TLS, with a certificate and its key in PEM.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_tls(
        settings: &[&str],
        certificate: &str,
        key: &str,
    ) -> anyhow::Result<PostgresServer> {
        let mut server = PostgresServer::prepare(settings)?;
        server.settings.push("ssl=on".into());
        for (setting, text) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            let path = server.folder.path().join(setting);
            write_secret(&path, text)?;
            server.settings.push(format!("{setting}={}", path.display()));
        }
        server.started()
    }

    /// One that is not started yet.
    fn prepare(settings: &[&str]) -> anyhow::Result<PostgresServer> {
        let (folder, template) = (owned_folder()?, Template::shared()?);
        let mut copy = as_server(Path::new("cp"))?;
        copy.arg("-r").arg(template.data()).arg(folder.path());
        run(&mut copy)?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let port = free_port()?;
        Ok(PostgresServer { server: None, port, settings, folder, _template: template })
    }

    fn started(mut self) -> anyhow::Result<PostgresServer> {
        self.restart()?;
        Ok(self)
    }

    /// Starts it again, after [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not start: with what it said.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let mut command = as_server(&binaries()?.join("postgres"))?;
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        command.args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off"] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let address = ("127.0.0.1", self.port);
        let log = folder.join("log");
        let is_ready = || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains("ready to accept connections") && TcpStream::connect(address).is_ok()
        };
        self.server = Some(Server::start(command, &log, is_ready)?);
        Ok(())
    }

    /// Kills it at once (`SIGKILL`); its children notice and end.
    ///
    /// # Errors
    /// Those of `kill(2)` and `waitpid(2)`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.end(Signal::KILL)?;
        }
        // What is left of it would keep the next one from starting.
        let _ = std::fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        Ok(())
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to connect, as libpq takes it.
    pub fn config(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.end(Signal::QUIT); // at once, but with its children
        }
    }
}

/// A temporary folder that belongs to the server's user.
fn owned_folder() -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    if let Some((user, group)) = account()? {
        chown(folder.path(), Some(user), Some(group))?;
    }
    Ok(folder)
}

/// Runs a command to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let failed = || format!("cannot run {}", program.display());
    let output = command.output().with_context(failed)?;
    if !output.status.success() {
        bail!("{}: {}", failed(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Writes a file that only the server may read.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some((user, group)) = account()? {
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

/// Where Debian keeps the newest version's programs.
fn binaries() -> anyhow::Result<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql");
    let installed = versions.read_dir().ok().into_iter().flatten().filter_map(Result::ok);
    let newest = installed.map(|version| version.path().join("bin")).max();
    newest.with_context(|| {
        format!("no PostgreSQL in {}: apt-get install postgresql", versions.display())
    })
}

/// Who runs the server, when it cannot be us: PostgreSQL refuses root.
fn account() -> anyhow::Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let postgres = fields.into_iter().find(|fields| fields.first() == Some(&"postgres"));
    let postgres = postgres.context("no user `postgres`: apt-get install postgresql")?;
    let number = |at: usize| postgres.get(at).and_then(|field| field.parse().ok());
    Ok(Some(number(2).zip(number(3)).context("no numbers for `postgres` in /etc/passwd")?))
}

/// A command that is run as the server's user.
fn as_server(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    if let Some((user, group)) = account()? {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    Ok(command)
}
