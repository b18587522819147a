//! `pingora-proxy-peer ADDRESS BEHIND`: hands every request to one server, with kept connections.
//!
//! What Pingora's introduction shows, on two threads, with `X-Forwarded-For` as the others have it.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::{
    Result,
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Proxy {
    behind: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.behind, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|it| it.as_inet()) {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(Ok(behind))) = (words.next(), words.next().map(|it| it.parse()))
    else {
        eprintln!("usage: pingora-proxy-peer ADDRESS BEHIND");
        std::process::exit(2);
    };
    let conf = ServerConf { threads: 2, upstream_keepalive_pool_size: 1024, ..Default::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Proxy { behind });
    proxy.add_tcp(&address);
    server.add_service(proxy);
    server.run_forever();
}
