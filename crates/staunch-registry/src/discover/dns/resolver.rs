//! Who is asked, in what order, and for how long.

use std::{convert::Infallible, fmt, net::SocketAddr, path::Path};

use hickory_proto::rr::RecordType;
use staunch_net::{DialOptions, dial_tcp, dial_udp};
use staunch_scope::{Context, Scope, timeout};
use tokio::io::AsyncReadExt;

use super::{
    message::{Question, Read, Told},
    system::System,
};
use crate::{discover::DiscoveryError, reading};

/// Answers questions.
pub(in crate::discover) trait Resolve: Send {
    /// All records of this kind; none if there is no such name.
    fn resolve(
        &mut self,
        name: &str,
        kind: RecordType,
    ) -> impl Future<Output = Result<Told, DiscoveryError>> + Send;
}

/// Asks name servers: by datagram from a port of its own for each question, and by TCP what does not fit.
pub(in crate::discover) struct Resolver {
    scope: Scope<Infallible>,
    fixed: Option<SocketAddr>,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLV_CONF_MAX: u64 = 64 << 10;
/// The longest datagram that is read: four times what is asked for.
const DATAGRAM_MAX: usize = 4 << 10;

impl Resolver {
    pub(super) fn new(scope: &Scope<Infallible>, fixed: Option<SocketAddr>) -> Resolver {
        Resolver { scope: scope.clone(), fixed }
    }

    /// Read each time: it changes when the machine moves to another network.
    async fn system(&self) -> System {
        if let Some(server) = self.fixed {
            return System::only(server);
        }
        match reading::read(&self.scope, Path::new(RESOLV_CONF), RESOLV_CONF_MAX).await {
            Ok(text) => System::parse(&text),
            Err(_) => System::default(), // as resolv.conf(5) says
        }
    }
}

impl Resolve for Resolver {
    async fn resolve(&mut self, name: &str, kind: RecordType) -> Result<Told, DiscoveryError> {
        let system = self.system().await;
        let mut nothing = None;
        for candidate in system.candidates(name) {
            let failed = |reason| DiscoveryError::Dns { name: candidate.clone(), reason };
            let question = Question::new(&candidate, kind)
                .ok_or_else(|| failed("is no name that can be asked for".to_owned()))?;
            let told = ask(&system, &question).await.map_err(failed)?;
            if !told.is_empty() {
                return Ok(told);
            }
            nothing.get_or_insert(told);
        }
        let failed =
            || DiscoveryError::Dns { name: name.to_owned(), reason: "not asked".to_owned() };
        nothing.ok_or_else(failed)
    }
}

/// The answer of the first server that has one; why the last one has none.
async fn ask(system: &System, question: &Question) -> Result<Told, String> {
    let mut last = String::new();
    for server in (0..system.attempts).flat_map(|_| &system.servers) {
        match timeout(system.timeout, ask_one(*server, question)).await {
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(why)) => last = format!("{server}: {why}"),
            Err(cause) if Context::current().is_cancelled() => return Err(cause.to_string()),
            Err(_) => last = format!("{server}: no answer within {:?}", system.timeout),
        }
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, question: &Question) -> Result<Told, String> {
    match by_datagram(server, question).await? {
        Read::Told(told) => return Ok(told),
        Read::Refused(code) => return Err(code.to_string()),
        Read::Truncated | Read::NotOurs => {}
    }
    match by_stream(server, question).await? {
        Read::Told(told) => Ok(told),
        Read::Refused(code) => Err(code.to_string()),
        Read::Truncated | Read::NotOurs => Err("answers what is no answer".to_owned()),
    }
}

async fn by_datagram(server: SocketAddr, question: &Question) -> Result<Read, String> {
    let socket = dial_udp(&Context::current(), server, &DialOptions::default()).await;
    let socket = socket.map_err(said)?;
    socket.send(&question.bytes).await.map_err(said)?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.receive(&mut buffer).await.map_err(said)?;
        match question.read(&buffer[..length]) {
            Read::NotOurs => {} // ours may still come
            read => return Ok(read),
        }
    }
}

/// With its length before it (RFC 1035, 4.2.2), so of 64 KiB at most.
async fn by_stream(server: SocketAddr, question: &Question) -> Result<Read, String> {
    let socket = dial_tcp(&Context::current(), server, &DialOptions::default()).await;
    let mut socket = socket.map_err(said)?;
    let length = u16::try_from(question.bytes.len()).map_err(said)?;
    socket.write_all([&length.to_be_bytes(), &question.bytes]).await.map_err(said)?;
    let mut answer = vec![0; socket.read_u16().await.map_err(said)?.into()];
    socket.read_exact(&mut answer).await.map_err(said)?;
    Ok(question.read(&answer))
}

fn said(error: impl fmt::Display) -> String {
    error.to_string()
}
