//! `[policy.certificate]`: who is known by the certificate of their connection.

use super::headers::name as header_name;
use crate::reader::Section;
use crate::reader::kinds::texts;

/// The connection of a request must have shown a certificate that the listener's `client_ca` has
/// signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The names of which it must have one: a DNS name or a URI of its `subjectAltName`, letter for
    /// letter. \[left out: any certificate does\]
    pub names: Vec<String>,
    /// The header by which the server is told its name. \[`x-client-name`\] What a client says there is
    /// always taken out.
    pub identity: String,
}

impl ClientCertificate {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let is_name = |name: &str| !name.is_empty() && name.len() <= 255 && name.is_ascii();
        let names = texts("a list of names, such as [\"shop.internal\"]", is_name);
        let names = section.written("names", names);
        if names.as_ref().is_some_and(Vec::is_empty) {
            section.wrong("names", "must name one at least; leave it out if any certificate does");
        }
        let names = names.unwrap_or_default();
        let identity = section.optional("identity", header_name, "x-client-name".to_owned());
        Self { names, identity }
    }
}
