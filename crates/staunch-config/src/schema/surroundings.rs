//! The shortest files that have a table, for questions to the reader.

/// A file with one place to write a key.
pub(super) struct Around {
    /// What stands before the table's keys, its header included.
    before: String,
    /// Keys that the table needs, a line each.
    needed: &'static str,
    after: &'static str,
}

impl Around {
    /// The file with `key` at `value`.
    pub(super) fn with(&self, key: &str, value: &str) -> String {
        format!("{}\n{key} = {value}\n{}\n{}", self.before, self.needed_but(key), self.after)
    }

    /// The file with what the table needs.
    pub(super) fn least(&self) -> String {
        format!("{}\n{}\n{}", self.before, self.needed, self.after)
    }

    /// The file with nothing in the table.
    pub(super) fn empty(&self) -> String {
        format!("{}\n{}", self.before, self.after)
    }

    /// Whether the table needs `key` here.
    pub(super) fn needs(&self, key: &str) -> bool {
        self.needed.lines().any(|line| line.split_once(" = ").is_some_and(|(name, _)| name == key))
    }

    fn needed_but(&self, key: &str) -> String {
        let is_other = |line: &&str| line.split_once(" = ").is_none_or(|(name, _)| name != key);
        self.needed.lines().filter(is_other).collect::<Vec<_>>().join("\n")
    }
}

const ECHO: &str = "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:1'\n";
const UDP: &str = "[[listener]]\nname = 'u'\nprotocol = 'udp-echo'\nlisten = '127.0.0.1:2'\n";
const HTTP: &str = "[[listener]]\nname = 'w'\nprotocol = 'http'\nlisten = '127.0.0.1:3'\n";
const TCP: &str =
    "[[listener]]\nname = 't'\nprotocol = 'tcp'\nlisten = '127.0.0.1:4'\nservice = 's'\n";
const ROUTE: &str = "[[route]]\nname = 'r'\nservice = 's'\n";
const SERVICE: &str = "[[service]]\nname = 's'\nendpoints = ['a:1']\n";
const TLS: &str = "[listener.tls]\ncertificate = 'c'\nkey = 'k'\n";

/// Files with a table of this name, one for each way it can be meant.
pub(super) fn surroundings(table: &str) -> Vec<Around> {
    let around = |before: &[&str], needed, after| Around { before: before.concat(), needed, after };
    let header = format!("[{table}]");
    let header = header.as_str();
    let listening = "name = 'b'\nprotocol = 'echo'\nlisten = '127.0.0.1:4'\n";
    let datagrams = "name = 'b'\nprotocol = 'udp-echo'\nlisten = '127.0.0.1:4'\n";
    let handing = "name = 'b'\nprotocol = 'tcp'\nlisten = '127.0.0.1:4'\nservice = 's'\n";
    match table {
        "listener" => vec![
            around(&["[[listener]]"], listening, ""),
            around(&["[[listener]]"], datagrams, ""),
            around(&[SERVICE, "[[listener]]"], handing, ""),
        ],
        "listener.limits" => vec![
            around(&[ECHO, header], "", ""),
            around(&[UDP, header], "", ""),
            around(&[ECHO, header], "", TLS),
        ],
        "listener.socket" => vec![around(&[ECHO, header], "", "")],
        "listener.tls" => vec![
            around(&[HTTP, header], "certificate = 'c'\nkey = 'k'\n", ROUTE_AND_SERVICE),
            around(
                &[HTTP, header],
                "certificate = 'c'\nkey = 'k'\nclient_ca = 'ca'\n",
                ROUTE_AND_SERVICE,
            ),
        ],
        "route" => vec![around(&[HTTP, SERVICE, "[[route]]"], "name = 'r'\nservice = 's'\n", "")],
        "route.version" => vec![around(&[HTTP, SERVICE, ROUTE, header], "name = 'v'\n", "")],
        "service" => vec![
            around(&[HTTP, ROUTE, "[[service]]"], "name = 's'\nendpoints = ['a:1']\n", ""),
            around(&[TCP, "[[service]]"], "name = 's'\nendpoints = ['a:1']\n", ""),
            around(
                &[HTTP, ROUTE, "[[service]]"],
                "name = 's'\n",
                "[service.discovery]\nfile = 'f'\n",
            ),
        ],
        "service.discovery" => [
            "file = 'f'\n",
            "dns = 'a:1'\n",
            "etcd = ['http://a:1']\nprefix = '/s/'\n",
            "consul = 'http://a:1'\n",
        ]
        .into_iter()
        .map(|source| around(&[HTTP, ROUTE, "[[service]]\nname = 's'\n", header], source, ""))
        .collect(),
        "policy" => vec![around(&[POLICED, "[[policy]]"], "name = 'p'\n", "")],
        "policy.rate" => vec![
            around(&[POLICED, NAMED, header], "requests = 1\n", ""),
            around(&[POLICED, NAMED, header], "requests = 1\nredis = 'redis://a:1'\n", ""),
        ],
        "policy.clients" => vec![
            around(&[POLICED, NAMED, header], "allow = ['10.0.0.0/8']\n", ""),
            around(&[POLICED, NAMED, header], "deny = ['10.0.0.0/8']\n", ""),
        ],
        "policy.jwt" => vec![
            around(&[POLICED, NAMED, header], JWT_FILE, ""),
            around(&[POLICED, NAMED, header], JWT_URL, ""),
        ],
        _ => match table.split_once('.') {
            Some(("service", _)) => vec![around(&[HTTP, ROUTE, SERVICE, header], "", "")],
            Some(("policy", of)) => {
                vec![around(&[POLICED, NAMED, header], needed_by_policy(of), "")]
            }
            _ => vec![around(&[ECHO, header], "", "")],
        },
    }
}

const ROUTE_AND_SERVICE: &str = "[[route]]\nname = 'r'\nservice = 's'\n\
                                 [[service]]\nname = 's'\nendpoints = ['a:1']\n";

/// A route that has the policy.
const POLICED: &str = "[[listener]]\nname = 'w'\nprotocol = 'http'\nlisten = '127.0.0.1:3'\n\
                       tls = { certificate = 'c', key = 'k', client_ca = 'ca' }\n\
                       [[service]]\nname = 's'\nendpoints = ['a:1']\n\
                       [[route]]\nname = 'r'\nservice = 's'\npolicies = ['p']\n";
const NAMED: &str = "[[policy]]\nname = 'p'\n";
const JWT_FILE: &str = "keys_file = 'k'\nalgorithms = ['RS256']\nissuer = 'i'\naudience = ['a']\n";
const JWT_URL: &str =
    "keys_url = 'https://a/k'\nalgorithms = ['RS256']\nissuer = 'i'\naudience = ['a']\n";

fn needed_by_policy(table: &str) -> &'static str {
    match table {
        "keys" => {
            "keys = ['shop: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08']\n"
        }
        "forward" => "url = 'http://a:1/'\n",
        "cors" => "origins = ['https://a']\n",
        _ => "",
    }
}
