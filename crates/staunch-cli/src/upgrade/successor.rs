//! The process after this one, once somebody asks for it.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use staunch_gateway::Control;
use staunch_ledger::{Account, Deadline, Kind, Ledger, Obligation};
use staunch_net::SharedSocket;
use tokio::{
    io::Interest,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::channel::{Packet, SOCKETS_MAX, VARIABLE, receive, send, send_sockets};
use crate::turn::Turns;

/// How a process is asked for a successor, and which program that is. To be had before the process says that it
/// listens: SIGUSR2 would end it, and what led to its program may lead to another one as soon as it is up.
#[derive(Debug)]
pub(crate) struct Asked {
    signal: Signal,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Asked {
    pub(crate) fn register() -> anyhow::Result<Asked> {
        Ok(Asked {
            signal: signal(SignalKind::user_defined2()).context("cannot listen for signals")?,
            program: program().context("cannot find out what program this is")?,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }
}

/// What starts a successor at SIGUSR2.
#[derive(Debug)]
pub(crate) struct Successor {
    asked: Asked,
    sockets: Vec<Arc<SharedSocket>>,
    /// Has the others.
    gateway: Option<Control>,
    turns: Turns,
}

/// There is no successor.
#[derive(Debug, thiserror::Error)]
enum HandOverError {
    #[error("cannot start {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("it has ended: {0}; what it said before is above")]
    Ended(ExitStatus),
    #[error("it did not accept connections within {0:?}")]
    Late(Duration),
    #[error("a reload has not ended within {0:?}: see whether a file that it reads can be read")]
    Busy(Duration),
    #[error("cannot speak with it: {0}")]
    Io(#[from] io::Error),
}

/// What a successor may take to accept connections: it reads its files, and binds.
const PATIENCE: Duration = Duration::from_secs(30);

impl Successor {
    /// One that has these sockets, when it comes, and those that the gateway has by then.
    pub(crate) fn new(
        asked: Asked,
        sockets: Vec<SharedSocket>,
        gateway: Option<Control>,
        turns: Turns,
    ) -> Successor {
        let sockets = sockets.into_iter().map(Arc::new).collect();
        Successor { asked, sockets, gateway, turns }
    }

    /// Waits until a successor has taken over; its process id.
    ///
    /// # Cancel safety
    /// A successor that has not taken over by then is ended.
    pub(crate) async fn takes_over(&mut self) -> u32 {
        loop {
            if self.asked.signal.recv().await.is_none() {
                std::future::pending::<()>().await; // nobody can ask any more
            }
            tracing::info!(program = %self.asked.program.display(), "SIGUSR2: starting a successor");
            match self.hand_over_in_turn().await {
                Ok(pid) => return pid,
                Err(error) => tracing::error!("no successor, so this process goes on: {error}"),
            }
        }
    }

    async fn hand_over_in_turn(&self) -> Result<u32, HandOverError> {
        let turn = timeout(PATIENCE, self.turns.next("SIGUSR2")).await;
        let turn = turn.map_err(|_| HandOverError::Busy(PATIENCE))?;
        let pid = self.hand_over().await?;
        turn.keep_for_good();
        Ok(pid)
    }

    async fn hand_over(&self) -> Result<u32, HandOverError> {
        let (channel, theirs) = UnixStream::pair()?;
        let channel = Channel::new(channel)?;
        let mut command = Command::new(&self.asked.program);
        command.args(&self.asked.arguments).env(VARIABLE, "1").stdin(OwnedFd::from(theirs));
        let started = command.spawn().map(|child| Started(Some(child)));
        let started = started.map_err(|source| HandOverError::Start {
            program: self.asked.program.clone(),
            source,
        })?;
        drop(command); // and with it their end
        let of_gateway = self.gateway.as_ref().map(Control::sockets).unwrap_or_default();
        let sockets = [&self.sockets[..], &of_gateway].concat();
        channel.send_all(&sockets)?;
        match timeout(PATIENCE, channel.is_ready()).await {
            Err(_) => Err(HandOverError::Late(PATIENCE)),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(false)) => Err(HandOverError::Ended(started.ended()?)),
            Ok(Ok(true)) => {
                for socket in &sockets {
                    socket.is_handed_over();
                }
                Ok(started.into_its_own())
            }
        }
    }
}

/// Where this program is: by the name under which it was started, which may be a link to one version of several;
/// by its own if nobody said that. At the start, since later another program may be there, which is what an
/// upgrade is about, and the kernel would say that this one has been deleted.
fn program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let is_it = |path: &PathBuf| is_same(path, &own);
    Ok(std::env::args_os()
        .next()
        .and_then(|name| found(name.as_ref()))
        .filter(is_it)
        .unwrap_or(own))
}

/// As the kernel and shells look for a program.
fn found(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return std::path::absolute(name).ok();
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn is_same(a: &Path, b: &Path) -> bool {
    let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    file(a).is_some_and(|a| Some(a) == file(b))
}

/// Our end of the channel.
struct Channel {
    stream: tokio::net::UnixStream,
    _account: Account,
}

impl Channel {
    fn new(stream: UnixStream) -> io::Result<Channel> {
        stream.set_nonblocking(true)?;
        let promise = Obligation::EndsBy(Deadline::after(PATIENCE + Duration::from_secs(5)));
        let account = Ledger::current().open(Kind::CONNECTION, promise);
        account.set_fd(stream.as_raw_fd());
        account.label("successor");
        Ok(Channel { stream: tokio::net::UnixStream::from_std(stream)?, _account: account })
    }

    fn send_all(&self, sockets: &[Arc<SharedSocket>]) -> io::Result<()> {
        let channel = self.stream.as_fd();
        for some in sockets.chunks(SOCKETS_MAX) {
            let fds: Vec<_> = some.iter().map(|socket| socket.as_fd()).collect();
            send_sockets(channel, &fds)?;
        }
        send(channel, &Packet::End)
    }

    /// Waits until it accepts connections; `false` if it has ended.
    async fn is_ready(&self) -> io::Result<bool> {
        let receive = || receive(self.stream.as_fd());
        let said = self.stream.async_io(Interest::READABLE, receive).await;
        match said {
            Ok(Packet::Ready) => Ok(true),
            Ok(Packet::Closed) => Ok(false),
            Ok(other) => Err(io::Error::other(format!("it said {other:?}"))),
            // It has ended with something unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A process that is ended with this, unless it is on its own.
struct Started(Option<Child>);

impl Started {
    /// How it has ended.
    fn ended(mut self) -> io::Result<ExitStatus> {
        match self.0.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn into_its_own(mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}
