//! Listeners on the console.

use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
use tokio::{io::AsyncReadExt, net::TcpStream};

use staunch::Context;

use crate::support::{get, with_console};

#[staunch::test]
async fn a_listener_shows_whom_it_has_accepted_and_refused() {
    with_console(async |console| {
        let any = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(&any, &SocketOptions::default(), Limits::default()).unwrap();
        let listener = listener.named("web").refuse_while(|| true);
        let &Endpoint::Tcp(address) = listener.endpoint() else { panic!("a TCP listener") };
        let (context, cancel) = Context::current().with_cancel();
        let serve = listener.serve(&context, |_| async { Ok::<_, std::io::Error>(()) });
        let client = async {
            // The reset may come before `connect` has returned.
            if let Ok(mut stream) = TcpStream::connect(address).await {
                stream.read(&mut [0; 1]).await.unwrap_err();
            }
            let metrics = get(console, "/metrics").await;
            for line in [
                "staunch_connections_accepted_total{listener=\"web\"} 0",
                "staunch_connections_refused_total{listener=\"web\",reason=\"pressure\"} 1",
                "staunch_connections_refused_total{listener=\"web\",reason=\"per-ip\"} 0",
                "staunch_connections_refused_total{listener=\"web\",reason=\"proxy-protocol\"} 0",
                &format!("staunch_connections_accepted_total{{listener=\"{console}\"}} 1"),
            ] {
                assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
            }
            let tls = "staunch_tls_handshakes_failed_total{";
            assert!(!metrics.text().contains(tls), "it speaks no TLS");
            cancel.cancel();
        };
        let (served, ()) = tokio::join!(serve, client);
        assert_eq!(served.refused, 1);
    })
    .await;
}
