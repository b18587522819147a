//! Clients of HTTP servers: hyper's, whose tasks are children of a scope.

use std::{future::Future, io, net::SocketAddr};

use hyper::{
    body::Body,
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use staunch_scope::{BoxError, Scope};
use tokio::net::TcpStream;

/// A connection that speaks HTTP/1.
///
/// # Errors
/// When it cannot be made.
pub async fn http1<B>(
    address: SocketAddr,
    scope: &Scope<BoxError>,
) -> Result<http1::SendRequest<B>, BoxError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let socket = TokioIo::new(connect(address).await?);
    let (client, connection) = http1::handshake(socket).await?;
    Children(scope.clone()).execute(async {
        let _ = connection.await; // who uses it sees how it ends
    });
    Ok(client)
}

/// A connection that speaks HTTP/2, from the first byte on.
///
/// # Errors
/// When it cannot be made.
pub async fn http2<B>(
    address: SocketAddr,
    scope: &Scope<BoxError>,
) -> Result<http2::SendRequest<B>, BoxError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (socket, children) = (connect(address).await?, Children(scope.clone()));
    let (client, connection) = http2::handshake(children.clone(), TokioIo::new(socket)).await?;
    children.execute(async {
        let _ = connection.await;
    });
    Ok(client)
}

/// What is small leaves at once: what waits for an acknowledgement is measured otherwise.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Starts what hyper would spawn as a child of a scope.
#[derive(Clone)]
struct Children(Scope<BoxError>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Children {
    fn execute(&self, task: F) {
        self.0.spawn(async {
            task.await;
            Ok(())
        });
    }
}
