//! A request is part of its caller's trace.

use staunch::Context;
use staunch_http::ClientOptions;
use staunch_scope::TraceId;

use crate::support::{text, with_server};

#[staunch::test]
async fn the_trace_of_the_context_is_handed_on() {
    let answer = |request: &hyper::Request<staunch_http::RequestBody>| {
        let own = Context::current().trace_id().to_string();
        let header = request.headers().get("traceparent").map_or(&[][..], |it| it.as_bytes());
        let sent = TraceId::from_traceparent(header).map(|trace| trace.to_string());
        text(format!("{own} {}", sent.unwrap_or_default()))
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let trace = TraceId::random();
        let context = Context::current().with_trace_id(trace);
        let url = format!("http://{address}/");
        let answer = client.get(&url).context(&context).send().await.unwrap();
        let said = answer.text(1 << 10).await.unwrap();
        assert!(said.ends_with(&trace.to_string()), "{said}, of {trace}");
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let answer = client.get(&url).header("traceparent", given).send().await.unwrap();
        assert!(answer.text(1 << 10).await.unwrap().ends_with(&given[3..35]));
    })
    .await;
}
