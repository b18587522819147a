//! What is done with the bodies of requests: said again, or counted.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use staunch_http::{MalformedBodyError, RequestBody, SlowBodyError, StreamBody};

use super::{Http, text};
use crate::service::bodies::NoRoomError;

/// The body goes back whole; its length and time are limited by the server.
pub(super) async fn echo(http: &Http, body: RequestBody) -> Response<StreamBody> {
    match receive(http, body).await {
        Ok(body) => {
            let mut response = Response::new(StreamBody::whole(body));
            let any = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, any);
            response
        }
        Err(refused) => refused,
    }
}

/// The whole body, or the answer that says why not.
async fn receive(http: &Http, mut body: RequestBody) -> Result<Bytes, Response<StreamBody>> {
    let mut held = http.bodies.open(http.limits.body_bytes);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&*error))?;
        if let Some(piece) = frame.data_ref() {
            held.push(piece).map_err(|NoRoomError| no_room())?;
        }
    }
    Ok(held.into_answer())
}

/// Each piece is counted and forgotten: a body of any size takes the room of one.
pub(super) async fn count(mut body: RequestBody) -> Response<StreamBody> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |piece| piece.len() as u64),
            Err(error) => return broken(&*error),
        }
    }
    text(StatusCode::OK, format!("{bytes} bytes\n"))
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Response<StreamBody> {
    let status = match error.downcast_ref::<SlowBodyError>() {
        Some(_) => StatusCode::REQUEST_TIMEOUT,
        None => StatusCode::BAD_REQUEST,
    };
    let what = if error.is::<MalformedBodyError>() { "is wrong" } else { "broke off" };
    text(status, format!("The body {what}: {error}\n"))
}

fn no_room() -> Response<StreamBody> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "There is no room for another body now (`bodies` in [memory]).\n",
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
