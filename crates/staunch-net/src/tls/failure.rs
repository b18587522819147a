//! Why handshakes fail, in the few words that there are counts for.

use rustls::{CertificateError, Error};

use crate::{tls::HandshakeError, watchdog::Cut};

/// Why a TLS handshake of a listener has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The client has shown no certificate, and must.
    NoCertificate,
    /// Nobody who is known has signed the client's certificate.
    UnknownCa,
    /// The client's certificate holds no longer, or not yet.
    Expired,
    /// The client's certificate does not hold for another reason.
    Certificate,
    /// The client has refused, by an alert: it does not trust the certificate, for instance.
    Alert,
    /// There is no version, cipher or protocol that both speak.
    Incompatible,
    /// What came is no TLS.
    NotTls,
    /// What came is no handshake as it is to be.
    Malformed,
    /// It took longer than it may ([`Limits::handshake`](crate::Limits::handshake)).
    Timeout,
    /// The client has left in the middle of it.
    Closed,
}

impl HandshakeFailure {
    pub(crate) const ALL: [HandshakeFailure; 10] = [
        HandshakeFailure::NoCertificate,
        HandshakeFailure::UnknownCa,
        HandshakeFailure::Expired,
        HandshakeFailure::Certificate,
        HandshakeFailure::Alert,
        HandshakeFailure::Incompatible,
        HandshakeFailure::NotTls,
        HandshakeFailure::Malformed,
        HandshakeFailure::Timeout,
        HandshakeFailure::Closed,
    ];

    /// Its name in metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            HandshakeFailure::NoCertificate => "no-certificate",
            HandshakeFailure::UnknownCa => "unknown-ca",
            HandshakeFailure::Expired => "expired",
            HandshakeFailure::Certificate => "certificate",
            HandshakeFailure::Alert => "alert",
            HandshakeFailure::Incompatible => "incompatible",
            HandshakeFailure::NotTls => "not-tls",
            HandshakeFailure::Malformed => "malformed",
            HandshakeFailure::Timeout => "timeout",
            HandshakeFailure::Closed => "closed",
        }
    }

    /// `None` if the peer has nothing to do with it.
    pub(super) fn of(error: &HandshakeError) -> Option<HandshakeFailure> {
        match error {
            HandshakeError::NotTls => Some(HandshakeFailure::NotTls),
            HandshakeError::Failed(error) => Some(HandshakeFailure::of_tls(error)),
            HandshakeError::Io(error) if Cut::is_in(error) => Some(HandshakeFailure::Timeout),
            HandshakeError::Io(_) => Some(HandshakeFailure::Closed),
            HandshakeError::Cancelled(_) => None,
        }
    }

    fn of_tls(error: &Error) -> HandshakeFailure {
        use CertificateError::{
            Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        match error {
            Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
            Error::InvalidCertificate(UnknownIssuer) => HandshakeFailure::UnknownCa,
            Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
            ) => HandshakeFailure::Expired,
            Error::InvalidCertificate(_) => HandshakeFailure::Certificate,
            Error::AlertReceived(_) => HandshakeFailure::Alert,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
                HandshakeFailure::Incompatible
            }
            _ => HandshakeFailure::Malformed,
        }
    }
}
