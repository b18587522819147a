//! Registries over TLS.

use std::{fs, path::Path};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes};
use rcgen::generate_simple_self_signed;
use staunch::{BoxError, Context, scope};
use staunch_harness::Swallow;
use staunch_http::{HttpLimits, RequestBody, Server, handler};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions, TlsConfig};
use staunch_registry::{ConsulRegistry, EtcdRegistry, Instance, Registry, register};

use crate::support::until;

/// What etcd may say to whatever an instance asks, and Consul as well.
async fn agree(_: Request<RequestBody>) -> Response<Full<Bytes>> {
    let lease = r#"{"ID": "7", "TTL": "60", "result": {"ID": "7", "TTL": "60"}}"#;
    Response::new(Full::new(Bytes::from_static(lease.as_bytes())))
}

/// A new certificate for `localhost` and its key, in files of `folder`.
fn certificate(folder: &Path) -> TlsConfig {
    let made = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    TlsConfig::load(&chain, &key, &["http/1.1"]).unwrap()
}

/// Registers while the file `ca.pem` of `folder` names somebody else, and then has it name the registry.
async fn trusts_anew(registry: impl FnOnce(String, &Path) -> Registry) {
    let folder = tempfile::tempdir().unwrap();
    let [ours, ca] = ["cert.pem", "ca.pem"].map(|name| folder.path().join(name));
    certificate(folder.path());
    fs::rename(&ours, &ca).unwrap();
    let tls = certificate(folder.path());
    let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
    let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
    let network = Swallow::start(address.port()).unwrap();
    let registry = registry(format!("https://localhost:{}", network.port()), &ca);
    let ended = scope(&Context::current(), |s| async move {
        let (context, cancel) = Context::current().with_cancel();
        let server = Server::new(HttpLimits::default());
        let served =
            s.fork(
                async move { Ok(server.serve_tls(listener, &context, &tls, handler(agree)).await) },
            );
        let instance = Instance::new("shop", "shop-1", "10.0.0.7:8080");
        let registering = scope(&Context::current(), |of_instance| async move {
            let mut registration = register(&of_instance, &registry, instance)?;
            until("it is asked", || !network.openings().is_empty()).await;
            assert!(!registration.is_registered(), "it is believed to be somebody else");
            fs::rename(&ours, &ca)?;
            until("it is believed", || registration.is_registered()).await;
            of_instance.stop();
            Ok::<_, BoxError>(())
        });
        registering.await?;
        cancel.cancel();
        let _what_became_of_connections = served.join().await?;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn whom_to_believe_is_read_again_for_etcd() {
    trusts_anew(|server, ca| {
        let Registry::Etcd(etcd) = Registry::etcd([server]) else { panic!("etcd") };
        Registry::Etcd(EtcdRegistry { ca: Some(ca.to_owned()), ..etcd })
    })
    .await;
}

#[staunch::test]
async fn whom_to_believe_is_read_again_for_consul() {
    trusts_anew(|agent, ca| {
        Registry::Consul(ConsulRegistry { agent, token_file: None, ca: Some(ca.to_owned()) })
    })
    .await;
}
