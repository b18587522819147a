//! As much of an HTTP/1.1 client as tests need.

use std::{fmt::Write as _, io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A connection to the bank.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
}

/// What the bank said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Checks that it is a problem as RFC 9457 has it, and which.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:staunch:bank:{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
}

impl Session {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Session> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Session { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the whole answer. Dropped on its way, the connection is of no
    /// further use.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut answer = self.begin(method, path, headers, body).await?;
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(piece) = self.piece().await? {
                answer.body.push_str(&piece);
            }
        } else if let Some(length) = answer.header("content-length") {
            let mut bytes = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut bytes).await?;
            answer.body = String::from_utf8(bytes).unwrap();
        }
        Ok(answer)
    }

    /// Sends a request and reads the head of the answer.
    pub(crate) async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: bank\r\n");
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n"); // a string takes everything
        }
        if !body.is_empty() {
            request.push_str("content-type: application/json\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            let _ = write!(request, "content-length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.stream.write_all(request.as_bytes()).await?;
        self.head().await
    }

    async fn head(&mut self) -> io::Result<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: String::new() })
    }

    /// The next chunk of a body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<String>> {
        let length = self.line().await?;
        let length = usize::from_str_radix(&length, 16).unwrap();
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        self.line().await?;
        Ok((length > 0).then(|| String::from_utf8(bytes).unwrap()))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
