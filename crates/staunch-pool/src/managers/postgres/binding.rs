//! What binds the proof of a password to the TLS session in which it is given, so that nobody in
//! between can pass it on: `tls-server-end-point` (RFC 5929, section 4), a hash of the server's
//! certificate by the algorithm with which it is signed.

use rustls::{
    SupportedCipherSuite,
    crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384},
};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// `sha256WithRSAEncryption` and its like, but for the last byte (RFC 8017, appendix C).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// `ecdsa-with-SHA256` and its like, but for the last byte (RFC 5758, section 3.2).
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

/// The hash of a certificate in DER. `None` if it is signed with SHA-512, or otherwise: then there is
/// no binding.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let hash = match signed_with(certificate)?.split_last()? {
        (0x04 | 0x05 | 0x0b, RSA) | (0x02, ECDSA) => TLS13_AES_128_GCM_SHA256, // MD5 and SHA-1, too
        (0x0c, RSA) | (0x03, ECDSA) => TLS13_AES_256_GCM_SHA384,
        _ => return None,
    };
    digest(hash, certificate)
}

/// The hash of a cipher suite: rustls has no other door to it.
fn digest(suite: SupportedCipherSuite, bytes: &[u8]) -> Option<Vec<u8>> {
    let hash = suite.tls13()?.common.hash_provider;
    Some(hash.hash(bytes).as_ref().to_vec())
}

/// The name of the algorithm that a certificate is signed with: it comes second (RFC 5280, 4.1).
fn signed_with(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_, after_what_is_signed) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(after_what_is_signed, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

/// The contents of the element at the front, if it has this tag, and what follows (X.690, 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match usize::from(*length) {
        short @ ..0x80 => (short, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80).filter(|_| long <= 0x84)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        SignatureAlgorithm,
    };

    use super::*;

    fn check(algorithm: &'static SignatureAlgorithm, expected: Option<usize>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let hash = end_point(certificate.der());
        assert_eq!(hash.map(|hash| hash.len()), expected, "{algorithm:?}");
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        check(&PKCS_ECDSA_P256_SHA256, Some(32));
        check(&PKCS_ECDSA_P384_SHA384, Some(48));
        check(&PKCS_ED25519, None);
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x00", b"no"]
        {
            assert_eq!(end_point(bytes), None);
        }
    }
}
