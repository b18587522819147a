//! Who is asked, in what order, and for how long.
//!
//! What a name may mean is tried in turn, as glibc does: that no server can tell of one meaning does not
//! keep the next from being asked for. That there is no such name is believed only if it is said of all. When
//! nobody answers, only the name as it is written is still asked for: a lost datagram leads to no other name
//! of the search list, and a silent server costs its time once more, and not for each suffix.

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
    /// All records of each of these kinds, all of the same name; none if there is no such name.
    fn resolve<const N: usize>(
        &mut self,
        name: &str,
        kinds: [RecordType; N],
    ) -> impl Future<Output = Result<[Told; N], DiscoveryError>> + Send;
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
    async fn resolve<const N: usize>(
        &mut self,
        name: &str,
        kinds: [RecordType; N],
    ) -> Result<[Told; N], DiscoveryError> {
        resolve_by(&self.system().await, name, kinds).await
    }
}

async fn resolve_by<const N: usize>(
    system: &System,
    name: &str,
    kinds: [RecordType; N],
) -> Result<[Told; N], DiscoveryError> {
    let (mut nothing, mut lost, mut is_silent) = (None, None, false);
    for candidate in system.candidates(name) {
        if is_silent && candidate != name {
            continue;
        }
        match ask_all(system, &candidate, kinds).await {
            Means::Found(told) => return Ok(told),
            Means::Nothing(told) => _ = nothing.get_or_insert(told),
            Means::Half(why) => return Err(why.of(candidate)),
            Means::Lost(why) => {
                is_silent |= why.is_silent;
                lost.get_or_insert(why.of(candidate));
            }
        }
    }
    match (lost, nothing) {
        (None, Some(nothing)) => Ok(nothing),
        (Some(lost), _) => Err(lost),
        (None, None) => Err(Unanswered::silent("not asked").of(name.to_owned())),
    }
}

/// What is known of one name.
enum Means<const N: usize> {
    Found([Told; N]),
    Nothing([Told; N]),
    /// There is such a name, but not all can be told of it.
    Half(Unanswered),
    /// It may be there or not.
    Lost(Unanswered),
}

/// Why a question has no answer.
#[derive(Debug)]
struct Unanswered {
    reason: String,
    /// No server has answered at all, be it that it cannot.
    is_silent: bool,
}

/// Asks for every kind, also after one that cannot be told: the next tells whether there is such a name.
async fn ask_all<const N: usize>(system: &System, name: &str, kinds: [RecordType; N]) -> Means<N> {
    let (mut answers, mut lost) = (Vec::with_capacity(N), None);
    for kind in kinds {
        match ask(system, name, kind).await {
            Ok(told) => answers.push(told),
            Err(why) => {
                let is_silent = why.is_silent;
                lost.get_or_insert(why);
                if is_silent {
                    break;
                }
            }
        }
    }
    let is_there = answers.iter().any(|told| !told.is_empty());
    match (lost, <[Told; N]>::try_from(answers)) {
        (None, Ok(told)) if is_there => Means::Found(told),
        (None, Ok(told)) => Means::Nothing(told),
        (Some(why), _) if is_there => Means::Half(why),
        (Some(why), _) => Means::Lost(why),
        (None, Err(_)) => Means::Lost(Unanswered::silent("not asked")),
    }
}

/// The answer of the first server that has one; why the last one has none.
async fn ask(system: &System, name: &str, kind: RecordType) -> Result<Told, Unanswered> {
    let question = Question::new(name, kind)
        .ok_or_else(|| Unanswered::refused("is no name that can be asked for"))?;
    let mut last = Unanswered::silent("");
    for server in (0..system.attempts).flat_map(|_| &system.servers) {
        let why = match timeout(system.timeout, ask_one(*server, &question)).await {
            Ok(Ok(told)) => return Ok(told),
            Ok(Err(why)) => why,
            Err(cause) if Context::current().is_cancelled() => {
                return Err(Unanswered::silent(cause));
            }
            Err(_) => Unanswered::silent(format!("no answer within {:?}", system.timeout)),
        };
        last.reason = format!("{server}: {}", why.reason);
        last.is_silent &= why.is_silent;
    }
    Err(last)
}

async fn ask_one(server: SocketAddr, question: &Question) -> Result<Told, Unanswered> {
    match by_datagram(server, question).await.map_err(Unanswered::silent)? {
        Read::Told(told) => return Ok(told),
        Read::Refused(code) => return Err(Unanswered::refused(code)),
        Read::Truncated | Read::NotOurs => {}
    }
    match by_stream(server, question).await.map_err(Unanswered::silent)? {
        Read::Told(told) => Ok(told),
        Read::Refused(code) => Err(Unanswered::refused(code)),
        Read::Truncated | Read::NotOurs => Err(Unanswered::silent("answers what is no answer")),
    }
}

impl Unanswered {
    fn silent(reason: impl fmt::Display) -> Unanswered {
        Unanswered { reason: reason.to_string(), is_silent: true }
    }

    fn refused(reason: impl fmt::Display) -> Unanswered {
        Unanswered { reason: reason.to_string(), is_silent: false }
    }

    fn of(self, name: String) -> DiscoveryError {
        DiscoveryError::Dns { name, reason: self.reason }
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

#[cfg(test)]
mod tests;
