//! A client of the line echo, good or bad.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::PATIENCE;

pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::new(TcpStream::connect(address).unwrap())
    }

    /// With kernel buffers so small that both sides soon notice when nobody reads.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap(); // before the handshake, which tells the window
        socket.set_send_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Client::new(socket.into())
    }

    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// The address that the server sees as its peer.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream().local_addr().unwrap()
    }

    pub(crate) fn try_send(&self, text: &str) -> io::Result<()> {
        self.stream().write_all(text.as_bytes())
    }

    pub(crate) fn send(&self, text: &str) {
        self.try_send(text).unwrap_or_else(|error| panic!("cannot send {text:?}: {error}"));
    }

    pub(crate) fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map(|_| line)
    }

    /// Asks for an echo and checks it.
    #[track_caller]
    pub(crate) fn echo(&mut self, text: &str) {
        self.send(&format!("{text}\n"));
        let answer = self.try_line();
        let expected = format!("Echo: {text}\n");
        assert_eq!(answer.as_ref().ok(), Some(&expected), "the answer to {text:?}: {answer:?}");
    }

    /// All that still comes, until the server closes.
    pub(crate) fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).map(|_| rest)
    }

    /// Sends lines without ever reading, until the server takes no more for a moment.
    pub(crate) fn stuff(&self) {
        let line = format!("{}\n", "x".repeat(511));
        self.stream().set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        while self.try_send(&line).is_ok() {}
        self.stream().set_write_timeout(Some(PATIENCE)).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
