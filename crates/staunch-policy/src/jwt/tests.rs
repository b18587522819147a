//! Tokens of the standards, and what is wrong with others.

use std::time::Duration;

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::json;
use staunch_config::{ClaimHeader, JwtAlgorithm as A};

use super::*;

const NOW: u64 = 1_300_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jwt(algorithms: &[A], keys: &Value) -> Jwt {
    let claim =
        |claim: &str, value: &str| ClaimMatch { claim: claim.to_owned(), value: value.to_owned() };
    let header = |header: &str, claim: &str| ClaimHeader {
        header: header.to_owned(),
        claim: claim.to_owned(),
    };
    let config = staunch_config::Jwt {
        keys: JwtKeys::Url { url: "http://a/".to_owned(), refresh: Duration::from_mins(1) },
        algorithms: algorithms.to_vec(),
        issuer: "joe".to_owned(),
        audience: vec!["us".to_owned(), "all".to_owned()],
        leeway: Duration::from_secs(30),
        require: vec![claim("scope", "read")],
        headers: vec![header("x-user", "sub"), header("x-groups", "groups")],
        pass: false,
    };
    let jwt = Jwt::new(&config, None).unwrap();
    if !keys.is_null() {
        jwt.take(Arc::new(JwtKeySet::parse(keys.to_string().as_bytes()).unwrap()));
    }
    jwt
}

fn secret(name: &str) -> Value {
    json!({"kty": "oct", "kid": name, "k": base64(SECRET)})
}

fn claims() -> Value {
    json!({"iss": "joe", "aud": "us", "exp": NOW + 60, "sub": "ann", "scope": "read write", "groups": ["a", "b"]})
}

fn hs256(header: &Value, claims: &Value, key: &[u8]) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    format!("{signed}.{}", base64(hmac::sign(&key, signed.as_bytes())))
}

use ring::hmac;

/// A token of ours with these claims instead.
fn with(changes: &Value) -> String {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    hs256(&json!({"alg": "HS256", "kid": "1"}), &all, SECRET)
}

#[track_caller]
fn check(token: &str, expected: Result<(), TokenError>) {
    let jwt = jwt(&[A::Hs256], &json!({"keys": [secret("1"), secret("2")]}));
    assert_eq!(jwt.verify(token.as_bytes(), NOW).map(|_| ()), expected, "{token}");
}

#[test]
fn what_a_token_must_say() {
    check(&with(&json!({})), Ok(()));
    check(&with(&json!({"aud": ["them", "all"]})), Ok(()));
    check(&with(&json!({"aud": "them"})), Err(TokenError::Audience));
    check(&with(&json!({"aud": null})), Err(TokenError::Audience));
    check(&with(&json!({"aud": ["them"]})), Err(TokenError::Audience));
    check(&with(&json!({"iss": "Joe"})), Err(TokenError::Issuer));
    check(&with(&json!({"iss": null})), Err(TokenError::Issuer));
    check(&with(&json!({"exp": NOW - 29})), Ok(()));
    check(&with(&json!({"exp": NOW - 30})), Err(TokenError::Expired));
    check(&with(&json!({"exp": null})), Err(TokenError::Expired));
    check(&with(&json!({"exp": "soon"})), Err(TokenError::Malformed));
    check(&with(&json!({"nbf": NOW + 30})), Ok(()));
    check(&with(&json!({"nbf": NOW + 31})), Err(TokenError::NotYet));
    check(&with(&json!({"scope": "reading"})), Err(TokenError::Claim));
    check(&with(&json!({"scope": ["read"]})), Ok(()));
    check(&with(&json!({"scope": null})), Err(TokenError::Claim));
}

#[test]
fn what_is_no_token() {
    let good = with(&json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    for (token, error) in [
        (String::new(), TokenError::Malformed),
        ("a.b".to_owned(), TokenError::Malformed),
        (signed.to_owned(), TokenError::Malformed),
        (format!("{good}."), TokenError::Malformed),
        (format!("{good}="), TokenError::Malformed),
        (format!("{signed}."), TokenError::Signature),
        (good.replace('.', ".A"), TokenError::Signature),
        ("a".repeat(20 << 10), TokenError::Malformed),
        (hs256(&json!({"alg": "HS256", "kid": "3"}), &claims(), SECRET), TokenError::UnknownKey),
        (hs256(&json!({"alg": "HS256"}), &claims(), SECRET), TokenError::UnknownKey),
        (hs256(&json!({"alg": "HS256", "kid": "1"}), &claims(), &[7; 32]), TokenError::Signature),
        (hs256(&json!({"alg": "HS512", "kid": "1"}), &claims(), SECRET), TokenError::Algorithm),
        (hs256(&json!({"alg": "none"}), &claims(), SECRET), TokenError::Algorithm),
        (hs256(&json!({"alg": "None"}), &claims(), SECRET), TokenError::Algorithm),
        (
            hs256(&json!({"alg": "HS256", "kid": "1", "crit": ["b64"]}), &claims(), SECRET),
            TokenError::Malformed,
        ),
    ] {
        check(&token, Err(error));
    }
}

/// One that is signed with a public key as if that were a secret (RFC 8725, 2.1).
#[test]
fn a_public_key_is_no_secret() {
    let n = [0xC5; 256];
    let rsa = json!({"keys": [{"kty": "RSA", "kid": "1", "n": base64(n), "e": "AQAB"}]});
    let token = hs256(&json!({"alg": "HS256", "kid": "1"}), &claims(), &n);
    for algorithms in [&[A::Rs256][..], &[A::Rs256, A::Hs256]] {
        assert!(jwt(algorithms, &rsa).verify(token.as_bytes(), NOW).is_err());
    }
}

/// RFC 7515, A.2 and A.3; RFC 8037, A.4: signed, whatever they say.
#[test]
fn signatures_of_the_standards() {
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let ed =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for (algorithm, key, header, claims, signature) in [
        (
            A::Rs256,
            rsa,
            "eyJhbGciOiJSUzI1NiJ9",
            joe,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            A::Es256,
            ec,
            "eyJhbGciOiJFUzI1NiJ9",
            joe,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            A::EdDsa,
            ed,
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let keys = JwtKeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
        let token = format!("{header}.{claims}.{signature}");
        let token = Token::parse(token.as_bytes()).unwrap();
        assert_eq!(token.algorithm(), algorithm.name());
        let key = keys.find(algorithm, None).unwrap();
        assert!(key.has_signed(algorithm, token.signed(), token.signature()), "{algorithm:?}");
        assert!(!key.has_signed(algorithm, b"something else", token.signature()), "{algorithm:?}");
    }
}

#[test]
fn tokens_of_keys_that_were_just_made() {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .unwrap();
    let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
    let keys = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64(ed.public_key())},
        {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": base64(x), "y": base64(y)},
        {"kty": "unheard-of", "kid": "ec"},
    ]});
    let jwt = jwt(&[A::EdDsa, A::Es256], &keys);
    let sign = |algorithm, key: &str| {
        let header = json!({"alg": algorithm, "kid": key}).to_string();
        let signed = format!("{}.{}", base64(header), base64(claims().to_string()));
        let signature = match key {
            "ed" => ed.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => ec.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", base64(signature))
    };
    assert!(jwt.verify(sign("EdDSA", "ed").as_bytes(), NOW).is_ok());
    assert!(jwt.verify(sign("ES256", "ec").as_bytes(), NOW).is_ok());
    let confused = jwt.verify(sign("ES256", "ed").as_bytes(), NOW);
    assert_eq!(confused.unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn what_are_no_keys() {
    let parse = |json: Value| JwtKeySet::parse(json.to_string().as_bytes()).map(|set| set.0.len());
    assert_eq!(JwtKeySet::parse(b"{").err(), Some(ParseKeySetError::NoSet));
    assert_eq!(parse(json!({"keys": []})), Err(ParseKeySetError::NoKey));
    assert_eq!(parse(json!({"keys": vec![secret("1"); 101]})), Err(ParseKeySetError::TooMany));
    let mut cipher = secret("1");
    cipher["use"] = json!("enc");
    let short = json!({"kty": "oct", "k": base64(&SECRET[1..])});
    let small = json!({"kty": "RSA", "n": base64([1; 128]), "e": "AQAB"});
    for key in [cipher, short, small, json!(7), json!({"kty": "EC", "crv": "P-521"})] {
        assert_eq!(parse(json!({"keys": [key, secret("2")]})), Ok(1), "{key}");
        assert_eq!(parse(json!({"keys": [key]})), Err(ParseKeySetError::NoKey), "{key}");
    }
    let set = JwtKeySet::parse(json!({"keys": [secret("1")]}).to_string().as_bytes()).unwrap();
    assert!(!format!("{set:?}").contains(&base64(SECRET)), "{set:?}");
}

#[test]
fn servers_are_told_and_clients_are_told_why_not() {
    let keys = json!({"keys": [secret("1")]});
    let asked = |jwt: &Jwt, value: &str| {
        let fields: [(&[u8], &[u8]); 1] = [(b"authorization", value.as_bytes())];
        let asked =
            Asked { client: None, is_secure: false, names: None, method: "GET", fields: &fields };
        let date = Duration::from_secs(NOW);
        jwt.check(&asked, date).map_err(|error| {
            let refusal = jwt.refusal(error);
            let challenge = refusal.headers.get(WWW_AUTHENTICATE);
            let challenge = challenge.map_or("", |it| it.to_str().unwrap()).to_owned();
            (refusal.status.as_u16(), challenge)
        })
    };
    let told = asked(&jwt(&[A::Hs256], &keys), &format!("Bearer {}", with(&json!({})))).unwrap();
    let told: Vec<_> =
        told.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(told, [("x-user", "ann"), ("x-groups", "a,b")]);
    let evil = format!("Bearer {}", with(&json!({"sub": "a\r\nx-admin: 1"})));
    let told = asked(&jwt(&[A::Hs256], &keys), &evil).unwrap();
    assert!(told.iter().all(|(name, _)| name != "x-user"), "{told:?}");
    let invalid = "Bearer error=\"invalid_token\"".to_owned();
    assert_eq!(asked(&jwt(&[A::Hs256], &keys), "Bearer x"), Err((401, invalid)));
    assert_eq!(asked(&jwt(&[A::Hs256], &keys), "Basic x"), Err((401, "Bearer".to_owned())));
    let weak = format!("Bearer {}", with(&json!({"scope": "x"})));
    let insufficient = "Bearer error=\"insufficient_scope\"".to_owned();
    assert_eq!(asked(&jwt(&[A::Hs256], &keys), &weak), Err((403, insufficient)));
    let without = asked(&jwt(&[A::Hs256], &Value::Null), &format!("Bearer {}", with(&json!({}))));
    assert_eq!(without, Err((503, String::new())), "without keys nobody can say");
}
