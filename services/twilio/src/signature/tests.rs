//! The published test vectors (V01–V23, numbered as in the protocol notes they were collected in) and our own.

use super::*;

const U: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
const B: &str = r#"{"property": "value", "boolean": true}"#;
const HB: &str = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
const P5: &[(&str, &str)] = &[
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
];

enum Data<'a> {
    Form(&'a [(&'a str, &'a str)]),
    Body(&'a str),
    Nothing,
}
use Data::{Body, Form, Nothing};

/// Name, token, URL, data, header, judgement.
type Vector<'a> = (
    &'a str,
    &'a str,
    &'a str,
    Data<'a>,
    Option<&'a str>,
    Result<(), SignatureError>,
);

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn check(token: &str, url: &str, data: &Data<'_>, header: Option<&str>) -> Result<(), SignatureError> {
    let verifier = SignatureVerifier::new(vec![AuthToken::new(token)]);
    let fields;
    let payload = match data {
        Form(form) => {
            fields = owned(form);
            Payload::Form(&fields)
        }
        Body(body) => Payload::Body(body.as_bytes()),
        Nothing => Payload::Empty,
    };
    verifier.verify(url, payload, header)
}

#[test]
fn every_published_vector_is_judged_as_published() {
    let v06 = format!("{U}&bodySHA256={HB}");
    let v07 = format!("https://mycompany.com/myapp.php?bodySHA256={HB}");
    let v08 = format!("{U}&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    let amazing = format!("{U}&Body=It's+amazing");
    let user_pass = "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2";
    let user = "https://user@mycompany.com/myapp.php?foo=1&bar=2";
    let v23 = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675310"),
        ("Digits", "1234"),
        ("From", "+14158675310"),
        ("To", "+18005551212"),
    ];
    let v09 = [
        ("Sid", "CA123"),
        ("SidAccount", "AC123"),
        ("Digits", "5678"),
        ("Digits", "1234"),
        ("Digits", "1234"),
    ];
    let v10a = [
        ("MessagingBinding.Address", "+1325xxxxxxx"),
        ("MessagingBinding.Address", "+1415xxxxxxx"),
    ];
    let v10b = [v10a[1], v10a[0]];
    let qwerty19 = "https://example.com/test?bodySHA256=8d90d640c6ba47d595ac56203d7f5c6b511be80fdf44a2055acca75a119b9fd2";
    let qwerty20 = "https://example.com/test?bodySHA256=79bfb0acaf0045fd30f13d48d4fe296b393d85a3bfbee881a0172b2bd574b11e";

    let good = Ok(());
    let wrong = Err(SignatureError::Wrong);
    let vectors: Vec<Vector<'_>> = vec![
        (
            "V01",
            "12345",
            U,
            Form(P5),
            Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            good,
        ),
        (
            "V02",
            "12345",
            "https://mycompany.com:1234/myapp.php?foo=1&bar=2",
            Form(P5),
            Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            good,
        ),
        (
            "V03",
            "12345",
            "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
            Form(P5),
            Some("Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            good,
        ),
        (
            "V04",
            "12345",
            U,
            Form(P5),
            Some("kvajT1Ptam85bY51eRf/AJRuM3w="),
            good,
        ),
        (
            "V05",
            "12345",
            "http://mycompany.com/myapp.php?foo=1&bar=2",
            Form(P5),
            Some("0ZXoZLH/DfblKGATFgpif+LLRf4="),
            good,
        ),
        (
            "V06",
            "12345",
            &v06,
            Body(B),
            Some("a9nBmqA0ju/hNViExpshrM61xv4="),
            good,
        ),
        (
            "V07",
            "12345",
            &v07,
            Body(B),
            Some("y77kIzt2vzLz71DgmJGsen2scGs="),
            good,
        ),
        (
            "V08",
            "12345",
            &v08,
            Body("{}"),
            Some("Ldidvp12m26NI7eqEvxnEpkd9Hc="),
            good,
        ),
        (
            "V09",
            "12345",
            U,
            Form(&v09),
            Some("IK+Dwps556ElfBT0I3Rgjkr1wJU="),
            good,
        ),
        (
            "V10",
            "12345",
            U,
            Form(&v10a),
            Some("83O6e2vORAoJHUNzJjDWN1jz+BA="),
            good,
        ),
        (
            "V10 reversed",
            "12345",
            U,
            Form(&v10b),
            Some("83O6e2vORAoJHUNzJjDWN1jz+BA="),
            good,
        ),
        ("V11 wrong", "12345", U, Form(P5), Some("WRONG_SIGNATURE"), wrong),
        ("V11 fake", "12345", U, Form(P5), Some("fake_signature"), wrong),
        (
            "V11 absent",
            "12345",
            U,
            Form(P5),
            None,
            Err(SignatureError::Missing),
        ),
        (
            "V12",
            "12345",
            U,
            Body(B),
            Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            wrong,
        ),
        (
            "V13",
            "12345",
            &amazing,
            Form(P5),
            Some("TfZzewPq8wqrGlMfyAud8+/IvJ0="),
            good,
        ),
        (
            "V14",
            "12345",
            &amazing,
            Form(P5),
            Some("dsq4Ehbj6cs+KdTkpF5sSSplOWw="),
            good,
        ),
        (
            "V15",
            "12345",
            user_pass,
            Form(P5),
            Some("CukzLTc1tT5dXEDIHm/tKBanW10="),
            good,
        ),
        (
            "V16",
            "12345",
            user,
            Form(P5),
            Some("2YRLlVAflCqxaNicjMpJcSTgzSs="),
            good,
        ),
        (
            "V17",
            "12345",
            user_pass,
            Form(P5),
            Some("ZQFR1PTIZXF2MXB8ZnKCvnnA+rI="),
            good,
        ),
        (
            "V18",
            "12345",
            user,
            Form(P5),
            Some("aZfj4hyX1MLZhSS6QIL18Vn2/RA="),
            good,
        ),
        (
            "V19",
            "qwerty",
            qwerty19,
            Body(r#"{"message": "a post body"}"#),
            Some("zR5Oq4f6cijN5oz5bisiVuxYnTU="),
            good,
        ),
        (
            "V20",
            "qwerty",
            qwerty20,
            Body(r#"{"message": "a post body that does not match the bodySHA256"}"#),
            Some("+LYlbGr/VmN84YPJQCuWs+9UA7E="),
            Err(SignatureError::WrongBody),
        ),
        (
            "V21",
            "qwerty",
            "https://example.com/test",
            Form(&[("foo", "bar")]),
            Some("TR9Skm9jiF4WVRJznU5glK5I83k="),
            good,
        ),
        (
            "V22",
            "qwerty",
            "https://example.com/test",
            Form(&[("foo", "bar")]),
            Some("foobarbaz"),
            wrong,
        ),
        (
            "V23",
            "12345",
            "https://example.com/myapp.php?foo=1&bar=2",
            Form(&v23),
            Some("L/OH5YylLD5NRKLltdqwSvS0BnU="),
            good,
        ),
    ];
    for (name, token, url, data, header, expected) in vectors {
        assert_eq!(check(token, url, &data, header), expected, "{name}");
    }
}

#[test]
fn our_own_vectors_hold() {
    let voice = [
        ("AccountSid", "AC00000000000000000000000000000001"),
        ("CallSid", "CA00000000000000000000000000000001"),
        ("From", "+972501234567"),
        ("To", "+97231234567"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("CallerName", "ישראל ישראלי"),
        ("FromCity", ""),
    ];
    for (url, data, header) in [
        (
            "wss://calls.example.com/twilio/stream",
            Nothing,
            "sonivQoXkWR5R+yAyBvE+S10q6s=",
        ),
        (
            "wss://calls.example.com/twilio/stream/",
            Nothing,
            "CUAA27GkINX7AtHKwKNyE5y9CxQ=",
        ),
        (
            "https://calls.example.com/twilio/voice",
            Form(&voice),
            "bq6d4mOvtyEsG1G67ySUxOkSs/o=",
        ),
    ] {
        assert_eq!(check("12345", url, &data, Some(header)), Ok(()), "{url}");
    }
    assert_eq!(
        sign(
            "https://calls.example.com/twilio/voice#rc=2",
            &owned(&voice),
            &AuthToken::new("12345")
        ),
        "bq6d4mOvtyEsG1G67ySUxOkSs/o=",
    );
}

#[test]
fn user_info_that_twilio_dropped_is_accepted() {
    let header = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    let url = "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2";
    assert_eq!(check("12345", url, &Form(P5), Some(header)), Ok(()));
}

#[test]
fn the_fragment_is_not_signed() {
    let url = format!("{U}#rc=5&rp=all");
    assert_eq!(
        check("12345", &url, &Form(P5), Some("RSOYDt4T1cUTdK1PDd93/VVr8B8=")),
        Ok(())
    );
}

#[test]
fn either_token_of_a_rotation_is_accepted() {
    let verifier = SignatureVerifier::new(AuthToken::parse_list("new,12345"));
    let fields = owned(P5);
    for token in ["12345", "new"] {
        let header = sign(U, &fields, &AuthToken::new(token));
        assert_eq!(verifier.verify(U, Payload::Form(&fields), Some(&header)), Ok(()));
    }
    let header = sign(U, &fields, &AuthToken::new("old"));
    assert_eq!(
        verifier.verify(U, Payload::Form(&fields), Some(&header)),
        Err(SignatureError::Wrong)
    );
}

#[test]
fn an_untrimmed_value_and_an_unknown_field_are_part_of_it() {
    let token = AuthToken::new("12345");
    let header = sign(U, &owned(&[("From", " 1555 "), ("New", "x")]), &token);
    let verifier = SignatureVerifier::new(vec![token]);
    for (fields, expected) in [
        (owned(&[("New", "x"), ("From", " 1555 ")]), Ok(())),
        (
            owned(&[("New", "x"), ("From", "1555")]),
            Err(SignatureError::Wrong),
        ),
        (owned(&[("From", " 1555 ")]), Err(SignatureError::Wrong)),
    ] {
        assert_eq!(
            verifier.verify(U, Payload::Form(&fields), Some(&header)),
            expected
        );
    }
}

#[test]
fn a_verifier_without_tokens_accepts_nothing() {
    let header = sign(U, &[], &AuthToken::new(""));
    let verifier = SignatureVerifier::new(Vec::new());
    assert_eq!(
        verifier.verify(U, Payload::Empty, Some(&header)),
        Err(SignatureError::Wrong)
    );
}

#[test]
fn the_port_of_an_ipv6_host_is_found() {
    assert_eq!(
        writings("http://[::1]:5000/a"),
        ["http://[::1]:5000/a".to_owned(), "http://[::1]/a".to_owned()],
    );
    assert_eq!(
        writings("http://[::1]/a"),
        ["http://[::1]/a".to_owned(), "http://[::1]:80/a".to_owned()]
    );
}
