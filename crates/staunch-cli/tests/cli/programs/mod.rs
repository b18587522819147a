//! The gateway in front of programs that many people run, and of the bank on PostgreSQL.

mod go;
mod grpc;

use std::{fmt::Write as _, fs, net::SocketAddr, process::Command};

use bank::{Database, Service, Settings};
use staunch_harness::{NginxServer, PostgresServer, RedisServer};
use staunch_scope::{BoxError, Context, ScopeBuilder};

use crate::{
    gateway::{gateway, service},
    routes::curl,
    server::Server,
};

/// More than any buffer on the way takes, and no two pieces alike.
const FILE: usize = 50 << 20;

/// Bytes without a pattern (Marsaglia's xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What a command prints, when all went well.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {said} {output:?}");
    said
}

#[test]
fn files_of_nginx_come_through_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise(FILE);
    fs::write(folder.path().join("large"), &file).unwrap();
    let files = format!("location /files/ {{ alias {}/; }}", folder.path().display());
    let nginx = NginxServer::start(&files, None).unwrap();
    let server = gateway(&service(([127, 0, 0, 1], nginx.port()).into(), ""));
    let baseline = server.baseline();
    let large = format!("http://{}/files/large", server.tcp("web"));
    let got = folder.path().join("got");
    let fetch = |arguments: &[&str]| {
        let to = ["--silent", "--fail", "--max-time", "60", "--output", got.to_str().unwrap()];
        run("curl", &[&to, arguments, &[&large]].concat());
        fs::read(&got).unwrap()
    };
    assert!(fetch(&[]) == file, "over HTTP/1.1");
    assert!(fetch(&["--http2-prior-knowledge"]) == file, "over HTTP/2");
    assert!(fetch(&["--range", "12345-1234567"]) == file[12_345..=1_234_567], "a part");
    assert!(fetch(&["--range", "-10"]) == file[FILE - 10..], "the end");
    assert!(fetch(&["--limit-rate", "40M", "--range", "0-9999999"]) == file[..10_000_000]);
    fs::write(folder.path().join("small"), &file[..1024]).unwrap();
    let url = format!("http://{}/files/small", server.tcp("web"));
    let said = run("wrk", &["--threads", "2", "--connections", "16", "--duration", "1s", &url]);
    // It says neither when there were none.
    let is_fine = !said.contains("Non-2xx") && !said.contains("Socket errors");
    assert!(is_fine && said.contains("requests in"), "{said}");
    let beyond = ["--range", "999999999-", "--output", "/dev/null"];
    assert_eq!(curl(server.tcp("web"), "/files/large", &beyond).1, 416);
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}

/// Serves a bank on PostgreSQL while `clients` run.
fn with_bank(clients: impl FnOnce(SocketAddr) + Send + 'static) {
    let postgres = PostgresServer::start(&[]).unwrap();
    let database = Database::Postgres(Box::new(postgres.config().parse().unwrap()));
    let settings = Settings::new(([127, 0, 0, 1], 0).into(), database);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(ScopeBuilder::<BoxError>::new(&Context::background()).run(
        async |scope| {
            let service = Service::start(&scope, &settings).await?;
            let address = service.address();
            let (context, stop) = scope.context().with_cancel();
            let serving = scope.fork(async move { Ok(service.serve(&context).await) });
            let clients = scope.blocking(move |_| {
                clients(address);
                Ok(())
            });
            clients.join().await?;
            stop.cancel();
            let served = serving.join().await?;
            assert!(served.cut.is_empty(), "{:?}", served.cut);
            scope.stop();
            Ok(())
        },
    ));
    ended.result.unwrap();
    assert!(ended.forced.is_empty(), "{:?}", ended.forced);
}

#[test]
fn a_bank_on_postgresql_keeps_its_money_behind_the_gateway() {
    with_bank(|bank| {
        let server = gateway(&service(bank, ""));
        let baseline = server.baseline();
        let web = server.tcp("web");
        for balance in ["1000.00", "0.00"] {
            let body = format!(r#"{{"balance":{{"amount":"{balance}","currency":"EUR"}}}}"#);
            assert_eq!(curl(web, "/v2/accounts", &["--json", &body]).1, 201);
        }
        for key in 0..20 {
            let order = r#"{"from":1,"to":2,"amount":{"amount":"10.00","currency":"EUR"}}"#;
            let header = format!("Idempotency-Key: transfer-{}", key / 2); // each is sent twice
            let (said, status) =
                curl(web, "/v2/transfers", &["--json", order, "--header", &header]);
            assert!(matches!(status, 200 | 201), "{status}: {said}");
        }
        let url = format!("http://{web}/v2/accounts/1");
        let said = run("h2load", &["-n", "2000", "-c", "8", "-m", "4", &url]);
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored"), "{said}");
        let said = run("h2load", &["--h1", "-n", "2000", "-c", "8", &url]);
        assert!(said.contains("2000 succeeded, 0 failed, 0 errored"), "{said}");
        for (account, balance) in [(1, "900.00"), (2, "100.00")] {
            let (said, status) = curl(web, &format!("/v2/accounts/{account}"), &[]);
            assert!(status == 200 && said.contains(balance), "{said}");
        }
        server.settles_to(&baseline);
        server.terminate().assert_clean();
    });
}

#[test]
fn clients_of_redis_speak_through_a_tcp_listener() {
    let redis = RedisServer::start().unwrap();
    let mut config = String::new();
    for (name, protocol) in [("redis", "tcp"), ("echo", "echo")] {
        let service = if protocol == "tcp" { "service = 'redis'\n" } else { "" };
        let _ = write!(
            config,
            "[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n{service}"
        ); // to memory
    }
    let endpoint = format!("127.0.0.1:{}", redis.port());
    let server = Server::start(&format!(
        "{config}[[service]]\nname = 'redis'\nendpoints = ['{endpoint}']\n"
    ));
    let baseline = server.baseline();
    let port = server.tcp("redis").port().to_string();
    let cli = |words: &[&str]| run("redis-cli", &[&["-p", &port], words].concat());
    assert_eq!(cli(&["set", "name", "staunch"]), "OK\n");
    assert_eq!(cli(&["get", "name"]), "staunch\n");
    let script = "for i = 1, 1000 do redis.call('rpush', 'list', i) end return 'done'";
    assert_eq!(cli(&["eval", script, "0"]), "done\n");
    assert_eq!(cli(&["lrange", "list", "0", "-1"]).lines().count(), 1_000);
    let said =
        run("redis-benchmark", &["-p", &port, "-n", "20000", "-c", "50", "-P", "4", "--csv"]);
    assert!(said.contains("\"GET\"") && said.contains("\"LRANGE_600"), "{said}");
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}
