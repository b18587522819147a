//! Handshakes that fail: what the peer is told of it, and whoever runs the listener.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, DnType, KeyPair};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
};
use staunch_ledger::{Kind, Ledger};
use staunch_net::{ClientAuth, Limits, TlsConfig, listeners};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Logged, address, bind, connect, eventually, live, read_to_end, unlimited},
    tls::{Files, certified, dial, echo, serving},
};

/// Has clients show a certificate that nobody but the server itself can have, or none.
fn asking(files: &Files, auth: ClientAuth) -> TlsConfig {
    files.load(&["h2"]).unwrap().client_auth(files.certificate(), auth).unwrap()
}

/// Signed by somebody whom nobody knows.
fn unknown() -> CertifiedKey<KeyPair> {
    certified(|params| params.distinguished_name.push(DnType::CommonName, "nobody"))
}

/// The client's side of a handshake, by other people's code. It ends before the server has said
/// what it thinks of the certificate.
async fn shown(
    address: SocketAddr,
    files: &Files,
    certified: &CertifiedKey<KeyPair>,
) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(files.certificate()).unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, connect(address).await).await
}

/// The alert that a read tells of.
fn alert(read: io::Result<usize>) -> AlertDescription {
    let error = read.expect_err("an alert");
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert, but {error:?}"),
    }
}

/// Clients that go on at once, as those of HTTP/2 do: more than the server reads with the handshake.
#[staunch::test]
async fn a_client_that_goes_on_at_once_reads_why_it_is_refused() {
    let (files, wrong) = (Files::new(), unknown());
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = asking(&files, ClientAuth::Optional);
    let served = serving(listener, &tls, echo, async || {
        for _ in 0..50 {
            let mut client = shown(address, &files, &wrong).await.unwrap();
            client.write_all(&[b'.'; 10_000].repeat(4)).await.unwrap();
            client.flush().await.unwrap();
            // curl says more before it reads, and gives up if it cannot.
            client.get_ref().0.readable().await.unwrap();
            client.write_all(b"more").await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(alert(client.read(&mut [0; 1]).await), AlertDescription::UnknownCA);
        }
        eventually("all have gone", || live(Kind::CONNECTION) == 0).await;
        dial(address, &files.trust(&["h2"])).await.unwrap();
    });
    assert_eq!(served.await.accepted, 51);
}

#[staunch::test]
async fn who_was_refused_and_stays_is_not_kept() {
    let (files, wrong) = (Files::new(), unknown());
    let listener = bind(unlimited());
    let address = address(&listener);
    let tls = asking(&files, ClientAuth::Optional);
    let served = serving(listener, &tls, echo, async || {
        let mut silent = shown(address, &files, &wrong).await.unwrap();
        let mut talking = shown(address, &files, &wrong).await.unwrap();
        while talking.write_all(&[b'.'; 10_000].repeat(4)).await.is_ok() {}
        eventually("both have gone", || live(Kind::CONNECTION) == 0).await;
        assert_eq!(alert(silent.read(&mut [0; 1]).await), AlertDescription::UnknownCA);
    });
    assert_eq!(served.await.accepted, 2);
}

/// How often handshakes of the only listener have failed, by reason.
fn failed() -> Vec<(&'static str, u64)> {
    let [listener] = &listeners(Ledger::current())[..] else { panic!("one listener") };
    assert_eq!(listener.name, "secure");
    let failed = listener.handshakes_failed.iter().map(|(why, count)| (why.name(), *count));
    failed.filter(|(_, count)| *count > 0).collect()
}

#[staunch::test]
async fn failed_handshakes_are_counted_by_reason_and_said_once() {
    let files = Files::new();
    let listener = bind(unlimited()).named("secure");
    let address = address(&listener);
    let tls = asking(&files, ClientAuth::Required);
    let logged = Logged::begin();
    let served = serving(listener, &tls, echo, async || {
        for _ in 0..3 {
            let mut client = shown(address, &files, &unknown()).await.unwrap();
            assert_eq!(alert(client.read(&mut [0; 1]).await), AlertDescription::UnknownCA);
        }
        let mut client = dial(address, &files.trust(&["h2"])).await.unwrap();
        alert(client.read(&mut [0; 1]).await);
        drop(client);
        for said in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[22, 3, 1, 2]] {
            let mut plain = connect(address).await;
            plain.write_all(said).await.unwrap();
            plain.shutdown().await.unwrap();
            let _ = read_to_end(&mut plain).await;
        }
        drop(dial(address, &Files::new().trust(&["h2"])).await.unwrap_err());
        drop(connect(address).await); // somebody who looks whether it is there
        eventually("all have gone", || live(Kind::CONNECTION) == 0).await;
        let expected =
            [("no-certificate", 1), ("unknown-ca", 3), ("alert", 1), ("not-tls", 1), ("closed", 1)];
        assert_eq!(failed(), expected);
    });
    let served = served.await;
    assert_eq!(served.accepted, 8);
    for reason in ["no-certificate", "unknown-ca", "alert", "not-tls", "closed"] {
        let lines = logged.warnings(reason);
        let [line] = &lines[..] else { panic!("{reason}: {lines:?}") };
        for part in ["TLS handshakes fail", "listener=\"secure\"", "times=1", "peer=127.0.0.1:"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}

#[staunch::test]
async fn a_handshake_that_takes_too_long_is_counted_and_is_one_line_of_the_log() {
    let files = Files::new();
    let limits = Limits { handshake: Duration::from_millis(200), ..unlimited() };
    let listener = bind(limits).named("secure");
    let address = address(&listener);
    let tls = files.load(&[]).unwrap();
    let logged = Logged::begin();
    let served = serving(listener, &tls, echo, async || {
        let mut silent = connect(address).await;
        assert_eq!(read_to_end(&mut silent).await, None);
        eventually("it is counted", || failed() == [("timeout", 1)]).await;
    });
    assert_eq!(served.await.accepted, 1);
    assert_eq!(logged.said().len(), 1, "{}", logged.text());
}
