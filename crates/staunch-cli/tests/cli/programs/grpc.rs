//! A gRPC service behind the gateway, and its client before it (tonic): every kind of call, each
//! with what it ends by.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use staunch_scope::{BoxError, Context, ScopeBuilder, watch};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client, server,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use crate::{
    access_log::{LOG, lines},
    gateway::{SOON, gateway},
};

/// A message as `protoc` would make it of `message Text { string text = 1; }`.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

/// How many calls of `Wait` are waiting.
type Waiting = watch::Sender<i32>;

struct OneMore(Waiting);

impl OneMore {
    fn of(waiting: &Waiting) -> OneMore {
        waiting.modify(|waiting| *waiting += 1);
        OneMore(waiting.clone())
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.modify(|waiting| *waiting -= 1);
    }
}

/// 10 MiB of them: more than any window.
const MANY: usize = 10 << 10;
const KIB: usize = 1 << 10;

async fn once(request: Request<Text>) -> Result<Response<Text>, Status> {
    let asked = request.metadata().get("x-asked").cloned();
    let mut response = Response::new(text(format!("Hello, {}", request.into_inner().text)));
    if let Some(asked) = asked {
        response.metadata_mut().insert("x-answered", asked);
    }
    Ok(response)
}

async fn fail(request: Request<Text>) -> Result<Response<Text>, Status> {
    let mut status = Status::not_found(format!("nobody is called {}", request.into_inner().text));
    status
        .metadata_mut()
        .insert_bin("x-why-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255]));
    Err(status)
}

type Texts = stream::BoxStream<'static, Result<Text, Status>>;

async fn count(_: Request<Text>) -> Result<Response<Texts>, Status> {
    Ok(Response::new(
        stream::iter(0..MANY).map(|number| Ok(text(format!("{number:>KIB$}")))).boxed(),
    ))
}

async fn break_off(_: Request<Text>) -> Result<Response<Texts>, Status> {
    let three = stream::iter(["1", "2", "3"]).map(|number| Ok(text(number)));
    let then = stream::once(async { Err(Status::data_loss("there is no fourth")) });
    Ok(Response::new(three.chain(then).boxed()))
}

async fn join(request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
    let mut parts = request.into_inner();
    let (mut count, mut length) = (0, 0);
    while let Some(part) = parts.message().await? {
        count += 1;
        length += part.text.len();
    }
    Ok(Response::new(text(format!("{count} parts, {length} bytes"))))
}

async fn converse(request: Request<Streaming<Text>>) -> Result<Response<Texts>, Status> {
    let said = request.into_inner();
    Ok(Response::new(said.map(|said| said.map(|said| text(format!("{}!", said.text)))).boxed()))
}

async fn serve(
    waiting: Waiting,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = server::Grpc::new(ProstCodec::<Text, Text>::default());
    Ok(match request.uri().path() {
        "/staunch.Answers/Once" => grpc.unary(tower::service_fn(once), request).await,
        "/staunch.Answers/Fail" => grpc.unary(tower::service_fn(fail), request).await,
        "/staunch.Answers/Wait" => {
            let wait = async |_: Request<Text>| -> Result<Response<Text>, Status> {
                let _one = OneMore::of(&waiting);
                std::future::pending().await
            };
            grpc.unary(tower::service_fn(|asked| Box::pin(wait(asked))), request).await
        }
        "/staunch.Answers/Count" => grpc.server_streaming(tower::service_fn(count), request).await,
        "/staunch.Answers/BreakOff" => {
            grpc.server_streaming(tower::service_fn(break_off), request).await
        }
        "/staunch.Answers/Join" => grpc.client_streaming(tower::service_fn(join), request).await,
        "/staunch.Answers/Converse" => grpc.streaming(tower::service_fn(converse), request).await,
        _ => Status::unimplemented("no such call").into_http(),
    })
}

/// Serves while `clients` call through a gateway before it.
fn with_service(clients: impl AsyncFnOnce(Client, watch::Receiver<i32>) -> Result<(), BoxError>) {
    // Not on one thread: the client's connection has to end while the test waits for that.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(ScopeBuilder::<BoxError>::new(&Context::background()).run(
        async |scope| {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
            let behind = incoming.local_addr()?;
            let (waiting, calls) = watch::channel(0);
            let (context, stop) = scope.context().with_cancel();
            let serving = scope.fork(async move {
                let service = tower::service_fn(move |request| serve(waiting.clone(), request));
                let stopped = async move {
                    let _asked_to_stop = context.cancelled().await;
                };
                Server::builder().serve_with_incoming_shutdown(service, incoming, stopped).await?;
                Ok(())
            });
            let config = format!(
                "[[route]]\nname = \"all\"\nservice = \"behind\"\nbody = \"12MiB\"\n[[service]]\nname = \"behind\"\n\
                 protocol = \"http2\"\nendpoints = [\"{behind}\"]\n{SOON}\n"
            );
            let gateway = gateway(&config);
            let baseline = gateway.baseline();
            clients(Client::connect(gateway.tcp("web")).await?, calls).await?;
            gateway.settles_to(&baseline);
            gateway.terminate().assert_clean();
            stop.cancel();
            serving.join().await?;
            scope.stop();
            Ok(())
        },
    ));
    ended.result.unwrap();
    assert!(ended.forced.is_empty(), "{:?}", ended.forced);
}

#[derive(Clone)]
struct Client(client::Grpc<Channel>);

impl Client {
    async fn connect(gateway: SocketAddr) -> Result<Client, BoxError> {
        let channel = Endpoint::try_from(format!("http://{gateway}"))?.connect().await?;
        Ok(Client(client::Grpc::new(channel)))
    }

    /// A client that may call.
    async fn ready(&mut self) -> Result<&mut client::Grpc<Channel>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(&mut self.0)
    }

    async fn call(
        &mut self,
        name: &'static str,
        request: Request<Text>,
    ) -> Result<Response<Text>, Status> {
        self.ready().await?.unary(request, path(name), ProstCodec::default()).await
    }

    async fn listen(&mut self, name: &'static str) -> Result<Streaming<Text>, Status> {
        let (request, codec) = (Request::new(text("")), ProstCodec::<Text, Text>::default());
        let response = self.ready().await?.server_streaming(request, path(name), codec).await?;
        Ok(response.into_inner())
    }

    async fn join(
        &mut self,
        parts: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Response<Text>, Status> {
        let (request, codec) = (Request::new(parts), ProstCodec::default());
        self.ready().await?.client_streaming(request, path("/staunch.Answers/Join"), codec).await
    }

    async fn converse(
        &mut self,
        said: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Streaming<Text>, Status> {
        let (request, codec) = (Request::new(said), ProstCodec::<Text, Text>::default());
        let path = path("/staunch.Answers/Converse");
        Ok(self.ready().await?.streaming(request, path, codec).await?.into_inner())
    }
}

fn path(name: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(name)
}

#[test]
fn calls_come_through_with_what_they_end_by() {
    with_service(async |mut client, _| {
        let mut request = Request::new(text("gate"));
        request.metadata_mut().insert("x-asked", "by a test".parse()?);
        let answer = client.call("/staunch.Answers/Once", request).await?;
        assert_eq!(answer.metadata().get("x-answered").unwrap(), "by a test");
        assert_eq!(answer.into_inner().text, "Hello, gate");

        let none =
            client.call("/staunch.Answers/Fail", Request::new(text("Ann"))).await.unwrap_err();
        assert_eq!((none.code(), none.message()), (Code::NotFound, "nobody is called Ann"));
        let why = none.metadata().get_bin("x-why-bin").unwrap().to_bytes()?;
        assert_eq!(&why[..], [0, 255]);

        let unknown = client.call("/staunch.Answers/None", Request::new(text(""))).await;
        assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);

        let mut broken = client.listen("/staunch.Answers/BreakOff").await?;
        for number in ["1", "2", "3"] {
            assert_eq!(broken.message().await?.unwrap().text, number);
        }
        let lost = broken.message().await.unwrap_err();
        assert_eq!((lost.code(), lost.message()), (Code::DataLoss, "there is no fourth"));
        Ok(())
    });
}

#[test]
fn streams_flow_both_ways() {
    with_service(async |mut client, _| {
        let mut numbers = client.listen("/staunch.Answers/Count").await?;
        let mut next = 0;
        while let Some(number) = numbers.message().await? {
            assert_eq!(number.text.trim_start(), next.to_string());
            next += 1;
        }
        assert_eq!(next, MANY);
        assert!(numbers.trailers().await?.is_some(), "it was ended, and not cut off");

        let parts = stream::iter(0..MANY).map(|_| text("x".repeat(KIB)));
        let joined = client.join(parts).await?.into_inner().text;
        assert_eq!(joined, format!("{MANY} parts, {} bytes", MANY * KIB));
        let parts = stream::iter(0..2 * MANY).map(|_| text("x".repeat(KIB)));
        let too_many = client.join(parts).await.unwrap_err();
        assert_eq!(too_many.code(), Code::ResourceExhausted, "{too_many:?}");

        // Nothing is said before the last was answered, so nothing may wait for more.
        let (mouth, ear) = staunch_scope::mpsc::channel::<Text>(1);
        let said = stream::unfold(ear, |mut ear| async { Some((ear.recv().await.ok()?, ear)) });
        mouth.send(text("0")).await?;
        let mut answers = client.converse(said).await?;
        for number in 0..100 {
            assert_eq!(answers.message().await?.unwrap().text, format!("{number}!"));
            mouth.send(text((number + 1).to_string())).await?;
        }
        drop(mouth);
        assert_eq!(answers.message().await?.unwrap().text, "100!");
        assert!(answers.message().await?.is_none());
        Ok(())
    });
}

#[test]
fn who_gives_up_ends_the_call_at_the_service() {
    with_service(async |mut client, mut waiting| {
        let mut request = Request::new(text(""));
        request.set_timeout(Duration::from_millis(200));
        let late = client.call("/staunch.Answers/Wait", request).await.unwrap_err();
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        let mut other = client.clone();
        {
            let calls = client.call("/staunch.Answers/Wait", Request::new(text("")));
            let more = other.call("/staunch.Answers/Wait", Request::new(text("")));
            let both = futures_util::future::join(calls, more);
            let wait_until_two_wait = async {
                while waiting.latest() < 2 {
                    waiting.changed().await?;
                }
                Ok::<_, BoxError>(())
            };
            tokio::select! {
                answered = both => panic!("{answered:?}"),
                seen = wait_until_two_wait => seen?,
            }
        } // both are dropped
        while waiting.latest() > 0 {
            waiting.changed().await?;
        }
        Ok(())
    });
}

#[test]
fn a_service_that_is_gone_is_unavailable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "{LOG}[[route]]\nname = \"all\"\nservice = \"behind\"\n[[service]]\nname = \"behind\"\n\
         protocol = \"http2\"\nendpoints = [\"{nobody}\"]\n{SOON}\n"
    );
    let gateway = gateway(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(gateway.tcp("web")).await.unwrap();
        let gone = client.call("/staunch.Answers/Once", Request::new(text(""))).await;
        let gone = gone.unwrap_err();
        assert_eq!((gone.code(), gone.message()), (Code::Unavailable, "502 Bad Gateway"));
    });
    drop(runtime);
    // What its client is told in words of gRPC, is an error all the same.
    assert_eq!(lines(&gateway, 1)[0]["status"], 502);
    gateway.terminate().assert_clean();
}
