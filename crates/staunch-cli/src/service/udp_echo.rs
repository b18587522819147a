//! UDP echo: answers each datagram with `Echo: ` and its trimmed text.

use std::io;

use staunch_net::Datagram;

use super::echo::trim;

pub(crate) async fn echo(datagram: Datagram) -> io::Result<()> {
    let answer = [b"Echo: ", trim(datagram.bytes()), b"\n"].concat();
    datagram.reply(&answer).await
}
