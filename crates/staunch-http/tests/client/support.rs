//! What the tests share.

use std::{fs, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use rcgen::generate_simple_self_signed;
use staunch::{BoxError, Context, Kind, Ledger, Scope, scope};
use staunch_harness::{eventually, live};
use staunch_http::{Client, ClientOptions, HttpLimits, RequestBody, Server, handler};
use staunch_kernel::{Protocol, SocketQuery};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions, TlsConfig, TlsTrust};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) type Answer = Response<Full<Bytes>>;

/// Runs `test` with a client; then nothing is left of it.
pub(crate) async fn with_client(
    options: ClientOptions,
    test: impl AsyncFnOnce(&Client, &Scope<BoxError>),
) {
    let entries = || Ledger::current().snapshot().entries().len();
    let before = entries();
    let ended = scope(&Context::current(), |s| async move {
        let client = Client::new(&s, options)?;
        test(&client, &s).await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
    assert_eq!(entries(), before, "something is left");
}

/// Runs `test` with a client and a server of ours.
pub(crate) async fn with_server(
    options: ClientOptions,
    answer: impl Fn(&Request<RequestBody>) -> Answer + Clone + Send + Sync + 'static,
    test: impl AsyncFnOnce(&Client, SocketAddr),
) {
    with_client(options, async |client, s| {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
        let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
        let (context, cancel) = Context::current().with_cancel();
        let service = handler(move |request| {
            let answer = answer(&request);
            async move { answer }
        });
        let server = Server::new(HttpLimits::default());
        let served = s.fork(async move { Ok(server.serve(listener, &context, service).await) });
        test(client, address).await;
        cancel.cancel();
        let _ = served.join().await.unwrap(); // what became of its connections is not asked here
    })
    .await;
}

pub(crate) fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()))
}

/// A server that says `says` on each connection, once a head has come, and no more.
pub(crate) async fn says(s: &Scope<BoxError>, says: impl Into<Bytes>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, says, connections) = (listener.local_addr().unwrap(), says.into(), s.clone());
    s.spawn(async move {
        while let Ok(accepted) = Context::current().run(listener.accept()).await {
            let (socket, says) = (accepted?.0, says.clone());
            connections.spawn(async move {
                let _ = Context::current().run(say(socket, &says)).await; // either may have left
                Ok(())
            });
        }
        Ok(())
    });
    address
}

async fn say(mut socket: TcpStream, says: &[u8]) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    if says.is_empty() {
        return std::future::pending().await; // not even read
    }
    while socket.read(&mut bytes).await? > 0 {
        socket.write_all(says).await?;
    }
    Ok(())
}

/// A certificate for `localhost`, and whom to trust then.
pub(crate) struct Localhost {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) trust: TlsTrust,
    /// What a server of ours speaks with it.
    pub(crate) tls: TlsConfig,
}

pub(crate) fn localhost() -> Localhost {
    let certificate = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let paths = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&paths[0], &chain).unwrap();
    fs::write(&paths[1], &key).unwrap();
    let alpn = ["h2", "http/1.1"];
    let trust = TlsTrust::load(&paths[0], &alpn).unwrap();
    let tls = TlsConfig::load(&paths[0], &paths[1], &alpn).unwrap();
    Localhost { chain, key, trust, tls }
}

/// Sockets of the client to a port, as the kernel says.
pub(crate) fn sockets_to(port: u16) -> usize {
    let table = SocketQuery::new().protocols([Protocol::Tcp]).run().unwrap();
    let ours = table.sockets.iter().filter(|it| it.inode.is_some_and(|inode| inode != 0));
    ours.filter(|it| it.remote.is_some_and(|remote| remote.port() == port)).count()
}

/// Waits until the client has no connection, as itself, the ledger and the kernel say.
pub(crate) async fn nothing_left(what: &str, client: &Client, port: u16) {
    eventually(what, async || {
        let leased: usize = client.status().pool.keys.iter().map(|key| key.status.size).sum();
        (leased, live(Kind::CONNECTION), sockets_to(port)) == (0, 0, 0)
    })
    .await;
}
