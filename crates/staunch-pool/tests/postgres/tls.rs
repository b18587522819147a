//! TLS as `sslmode` demands.

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateParams, CertifiedKey, DnType, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use staunch::{BoxError, Scope, timeout};
use staunch_harness::{PostgresServer, Swallow};
use staunch_pool::{Pool, PoolOptions, Postgres};

use crate::{backend, single};

/// What a client says first that wants TLS: its length, and a number that is no version.
const WANTS_TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A certificate for a name, by an issuer that is known by its own.
fn certified(name: &str, issuer: &str) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, issuer);
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

fn server(certified: &CertifiedKey<KeyPair>) -> PostgresServer {
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    PostgresServer::start_tls(&[], &certificate, &key).unwrap()
}

fn trust(certified: &CertifiedKey<KeyPair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Runs `test` on a pool that speaks TLS; then no socket is left.
async fn with_pool(
    port: u16,
    settings: &str,
    tls: Option<ClientConfig>,
    test: impl AsyncFnOnce(Pool<Postgres>),
) {
    let config = format!("host=localhost port={port} user=postgres password=swordfish {settings}");
    let manager = |s: &Scope<BoxError>| {
        let manager = Postgres::new(s, config.parse()?);
        Ok::<_, tokio_postgres::Error>(match tls {
            Some(tls) => manager.tls(tls),
            None => manager,
        })
    };
    let options = PoolOptions { test_on_create: true, ..single() };
    staunch_harness::with_pool(manager, options, async |pool, _| test(pool).await).await;
}

async fn is_encrypted(pool: &Pool<Postgres>) -> bool {
    let mut lease = pool.acquire().await.unwrap();
    let connection = lease.connection().unwrap();
    let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    connection.query_one(ssl, &[]).await.unwrap().get(0)
}

async fn refused(port: u16, settings: &str, tls: Option<ClientConfig>, expected: &[&str]) {
    with_pool(port, settings, tls, async |pool| {
        let error = pool.acquire().await.unwrap_err().to_string();
        assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        assert!(!format!("{error} {:?} {pool:?}", pool.manager()).contains("swordfish"));
    })
    .await;
}

#[staunch::test]
async fn sslmode_says_whether() {
    let certified = certified("localhost", "us");
    let server = server(&certified);
    for (settings, expected) in [
        ("", true),
        ("sslmode=prefer", true),
        ("sslmode=require", true),
        ("sslmode=disable", false),
    ] {
        with_pool(server.port(), settings, Some(trust(&certified)), async |pool| {
            assert_eq!(is_encrypted(&pool).await, expected, "{settings}");
        })
        .await;
    }
    with_pool(server.port(), "sslmode=prefer", None, async |pool| {
        assert!(!is_encrypted(&pool).await, "nobody said whom to trust");
    })
    .await;
    refused(server.port(), "sslmode=require", None, &["sslmode=require", "Postgres::tls"]).await;
}

#[staunch::test]
async fn a_server_that_cannot_prove_its_name_is_refused() {
    let (known, unknown) = (certified("localhost", "us"), certified("localhost", "others"));
    let impostor = server(&unknown);
    let expected = ["localhost:", "UnknownIssuer", "ClientConfig"];
    for settings in ["sslmode=prefer", "sslmode=require"] {
        refused(impostor.port(), settings, Some(trust(&known)), &expected).await;
    }
    let elsewhere = certified("db.example", "us");
    let other = server(&elsewhere);
    let expected = ["not valid for name", "must be for this name"];
    refused(other.port(), "sslmode=require", Some(trust(&elsewhere)), &expected).await;
}

#[staunch::test]
async fn a_server_without_tls_is_refused_if_tls_is_demanded() {
    let certified = certified("localhost", "us");
    let server = PostgresServer::start(&[]).unwrap();
    let expected = ["localhost:", "does not speak TLS", "ssl=on", "sslmode=prefer"];
    refused(server.port(), "sslmode=require", Some(trust(&certified)), &expected).await;
    with_pool(server.port(), "sslmode=prefer", Some(trust(&certified)), async |pool| {
        assert!(!is_encrypted(&pool).await);
    })
    .await;
}

#[staunch::test]
async fn a_query_is_cancelled_by_tls_too() {
    let certified = certified("localhost", "us");
    let server = server(&certified);
    let network = Swallow::start(server.port()).unwrap();
    with_pool(network.port(), "sslmode=require", Some(trust(&certified)), async |pool| {
        let busy = backend(&pool).await;
        let mut lease = pool.acquire().await.unwrap();
        let connection = lease.connection().unwrap();
        let query = connection.query("SELECT pg_sleep(600)", &[]);
        assert!(timeout(Duration::from_millis(200), query).await.is_err());
        drop(connection);
        drop(lease);
        assert_eq!(backend(&pool).await, busy, "it was reset, not ended");
    })
    .await;
    let openings = network.openings();
    assert!(openings.len() > 1, "a session, and the wish to cancel");
    assert!(openings.iter().all(|opening| *opening == WANTS_TLS), "{openings:?}");
}
