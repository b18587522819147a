//! For whom it is held: by route, by client, by the server that works for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, SocketAddr},
    panic::Location,
    time::Duration,
};

use crate::{
    kind::Kind,
    label::{Label, Routed},
    ledger::EntryId,
    snapshot::{Entry, Snapshot},
};

/// Clients, and servers, that a [`Holding`] names; those with the most.
pub const MAX_NAMED: usize = 10;

/// What has made no progress for so long is still ([`Holding::still`]).
pub const STILL_AFTER: Duration = Duration::from_mins(10);

/// Owners that are asked for the address of a client.
const OWNERS_MAX: usize = 16;

/// What is held for a route: entries of one kind, born on one line, that are labelled with its name
/// ([`Account::label_routed`](crate::Account::label_routed)).
///
/// `Display` is one line of all that, for a person.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Holding {
    /// The route.
    pub route: Box<str>,
    /// What they are.
    pub kind: Kind,
    /// Where they were born.
    pub born_at: &'static Location<'static>,
    /// How many.
    pub count: u64,
    /// Bytes they hold together.
    pub bytes: u64,
    /// Age of the oldest.
    pub oldest: Duration,
    /// Longest time without progress.
    pub stalest: Duration,
    /// How many have made no progress for [`STILL_AFTER`].
    pub still: u64,
    /// For whom, and how many: the peers of the connections they belong to. At most [`MAX_NAMED`],
    /// the most first.
    pub clients: Vec<(IpAddr, u64)>,
    /// Who works for them, and for how many; likewise.
    pub upstreams: Vec<(Box<str>, u64)>,
}

impl Snapshot {
    /// What is held for each route; the largest first.
    pub fn holdings(&self) -> Vec<Holding> {
        let routed =
            self.entries().iter().filter_map(|entry| Some((entry, entry.label().routed()?)));
        let mut gathered = BTreeMap::<_, Gathered<'_>>::new();
        let mut owners = None;
        for (entry, label) in routed {
            let owners = owners.get_or_insert_with(|| Owners::new(self));
            let born_at = entry.born_at();
            let like = (&label.route, entry.kind(), born_at.file(), born_at.line());
            let gathered = gathered.entry(like);
            gathered.or_insert_with(|| Gathered::like(entry)).add(entry, label, owners);
        }
        let holdings = gathered.into_iter().map(|((route, ..), it)| it.holding(route));
        let mut holdings: Vec<_> = holdings.collect();
        holdings.sort_by_key(|holding| Reverse(holding.count)); // stable: then by name
        holdings
    }
}

/// Finds who is spoken to.
struct Owners<'s>(HashMap<EntryId, &'s Entry>);

impl<'s> Owners<'s> {
    fn new(snapshot: &'s Snapshot) -> Owners<'s> {
        Owners(snapshot.entries().iter().map(|entry| (entry.id(), entry)).collect())
    }

    /// The peer of the nearest owner that has one.
    fn client(&self, entry: &Entry) -> Option<IpAddr> {
        let owner = |entry: &Entry| self.0.get(&entry.parent()?).copied();
        let mut owners = std::iter::successors(owner(entry), |entry| owner(entry)).take(OWNERS_MAX);
        owners.find_map(|owner| match owner.label() {
            Label::Peer(peer) => Some((*peer.ip()).into()),
            // As addresses of IPv6 are kept; also those of IPv4 that came by a socket for both.
            Label::Text(text) if [Kind::CONNECTION, Kind::TASK].contains(&owner.kind()) => {
                Some(text.parse::<SocketAddr>().ok()?.ip().to_canonical())
            }
            _ => None,
        })
    }
}

/// A holding that is being counted.
struct Gathered<'s> {
    kind: Kind,
    born_at: &'static Location<'static>,
    count: u64,
    bytes: u64,
    oldest: Duration,
    stalest: Duration,
    still: u64,
    clients: HashMap<IpAddr, u64>,
    upstreams: HashMap<&'s str, u64>,
}

impl<'s> Gathered<'s> {
    fn like(entry: &Entry) -> Gathered<'s> {
        Gathered {
            kind: entry.kind(),
            born_at: entry.born_at(),
            count: 0,
            bytes: 0,
            oldest: Duration::ZERO,
            stalest: Duration::ZERO,
            still: 0,
            clients: HashMap::new(),
            upstreams: HashMap::new(),
        }
    }

    fn add(&mut self, entry: &Entry, label: &'s Routed, owners: &Owners<'_>) {
        let without_progress = entry.without_progress();
        self.count += 1;
        self.bytes += entry.bytes();
        self.oldest = self.oldest.max(entry.age());
        self.stalest = self.stalest.max(without_progress);
        self.still += u64::from(without_progress >= STILL_AFTER);
        if let Some(client) = owners.client(entry) {
            *self.clients.entry(client).or_default() += 1;
        }
        if let Some(upstream) = &label.upstream {
            *self.upstreams.entry(upstream).or_default() += 1;
        }
    }

    fn holding(self, route: &str) -> Holding {
        let Gathered { kind, born_at, count, bytes, oldest, stalest, still, .. } = self;
        let clients = most(self.clients);
        let upstreams = most(self.upstreams).into_iter().map(|(name, it)| (name.into(), it));
        let (route, upstreams) = (route.into(), upstreams.collect());
        Holding { route, kind, born_at, count, bytes, oldest, stalest, still, clients, upstreams }
    }
}

/// Those with the most.
fn most<K: Ord>(counts: HashMap<K, u64>) -> Vec<(K, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
    counts.truncate(MAX_NAMED);
    counts
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holding { route, count, kind, .. } = self;
        let s = if *count == 1 { "" } else { "s" };
        write!(f, "route {route} holds {count} {}{s}", kind.name())?;
        if let Some((client, count)) = self.clients.first() {
            write!(f, ", {count} from {client}")?;
        }
        if let Some((upstream, count)) = self.upstreams.first() {
            write!(f, ", {count} at {upstream}")?;
        }
        write!(f, ", oldest {}, nothing moved for {}", Span(self.oldest), Span(self.stalest))
    }
}

/// As much of a duration as a person wants to know.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, seconds) => write!(f, "{seconds} s"),
            (0, minutes, _) => write!(f, "{minutes} min"),
            (hours, ..) => write!(f, "{hours} h"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Account, Ledger, Obligation};

    const HOUR: Duration = Duration::from_hours(1);

    fn connection(ledger: Ledger, peer: &str) -> Account {
        let account = ledger.open(Kind::CONNECTION, Obligation::EndsWithParent);
        account.peer(peer.parse().expect("an address"));
        account
    }

    /// With the task that it belongs to.
    fn request(connection: &Account, route: &str, upstream: &str) -> (Account, Account) {
        let task = connection.child(Kind::TASK, Obligation::EndsWithParent);
        let request = task.child(Kind::REQUEST, Obligation::EndsWithParent);
        request.label_routed(route, &["GET ", "/", route]);
        request.set_upstream(upstream);
        (request, task)
    }

    #[test]
    fn what_is_held_is_told_by_route_client_and_server() {
        let ledger = Ledger::new();
        let clients = ["10.0.0.7:1", "10.0.0.7:2", "[2001:db8::7]:3"];
        let connections = clients.map(|peer| connection(*ledger, peer));
        let first = request(&connections[0], "export", "10.0.1.1:80");
        first.0.add_bytes(100);
        ledger.advance_clock(3 * HOUR);
        let _others = [
            request(&connections[1], "export", "10.0.1.1:80"),
            request(&connections[2], "export", "10.0.1.2:80"),
            request(&connections[2], "hello", ""),
        ];
        let holdings = ledger.snapshot().holdings();
        let [export, hello] = &holdings[..] else { panic!("{holdings:?}") };
        assert_eq!((&*export.route, export.count, export.bytes), ("export", 3, 100));
        assert_eq!((export.still, hello.still), (1, 0));
        let [v4, v6] = ["10.0.0.7", "2001:db8::7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(export.clients, [(v4, 2), (v6, 1)]);
        assert_eq!(export.upstreams, [("10.0.1.1:80".into(), 2), ("10.0.1.2:80".into(), 1)]);
        let line = "route export holds 3 requests, 2 from 10.0.0.7, 2 at 10.0.1.1:80, \
                    oldest 3 h, nothing moved for 3 h";
        assert_eq!(export.to_string(), line);
        let line = "route hello holds 1 request, 1 from 2001:db8::7, oldest 0 s, \
                    nothing moved for 0 s";
        assert_eq!(hello.to_string(), line);
    }

    #[test]
    fn a_task_may_be_whose_peer_it_is() {
        let ledger = Ledger::new();
        for (peer, ip) in [("[2001:db8::7]:1", "2001:db8::7"), ("[::ffff:10.0.0.7]:2", "10.0.0.7")]
        {
            let task = ledger.open(Kind::TASK, Obligation::EndsWithParent);
            task.peer(peer.parse().expect("an address"));
            let stream = task.child(Kind::STREAM, Obligation::EndsWithParent);
            stream.label_routed("bytes", &[]);
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(ledger.snapshot().holdings()[0].clients, [(ip, 1)]);
        }
    }

    #[test]
    fn so_many_are_named_and_all_are_counted() {
        let ledger = Ledger::new();
        let many = MAX_NAMED + 5;
        let connections =
            (0..many).map(|number| connection(*ledger, &format!("10.0.0.{number}:1")));
        let connections: Vec<_> = connections.collect();
        let all = connections.iter().map(|it| request(it, "a", "b:1"));
        let _all: Vec<_> = all.collect();
        let holdings = ledger.snapshot().holdings();
        assert_eq!(holdings[0].count, many as u64);
        assert_eq!((holdings[0].clients.len(), holdings[0].upstreams.len()), (MAX_NAMED, 1));
    }

    #[test]
    fn what_has_no_route_is_no_holding() {
        let ledger = Ledger::new();
        let other = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
        other.label("GET /");
        other.set_upstream("a:1");
        assert!(ledger.snapshot().holdings().is_empty());
        assert_eq!(ledger.entry(other.id()).unwrap().label().to_string(), "GET /");
    }

    #[test]
    fn another_server_takes_the_place_of_the_first() {
        let ledger = Ledger::new();
        let request = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
        request.label_routed("export", &["GET /export/17"]);
        let label = || ledger.entry(request.id()).unwrap().label().clone();
        assert_eq!(label().routed().unwrap().upstream, None);
        for server in ["10.0.0.1:80", "db.internal:5432"] {
            request.set_upstream(server);
            let label = label();
            let routed = label.routed().unwrap();
            assert_eq!((&*routed.route, routed.upstream.as_deref()), ("export", Some(server)));
            assert_eq!(label.to_string(), "GET /export/17");
        }
    }

    #[test]
    fn spans_are_short() {
        let check = |seconds, expected| {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), expected);
        };
        check(59, "59 s");
        check(61, "1 min");
        check(7_300, "2 h");
    }
}
