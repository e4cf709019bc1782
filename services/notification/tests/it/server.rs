//! The conversation with a mail server, without a database: every message gets its own reply, whatever went before.

use std::{sync::Arc, time::Duration};

use lettre::Message;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::TlsAcceptor;
use tourmesh_notification::{
    courier::SendError,
    domain::retry::Failure,
    mail::smtp::{Server, Smtp},
};

use crate::sink::{Answer, Secrecy, Sink};

async fn sink(script: &[Answer], in_a_row: bool, secrecy: Secrecy) -> Sink {
    Sink::with(TcpListener::bind("127.0.0.1:0").await.unwrap(), script, in_a_row, secrecy)
}

fn client(sink: &Sink) -> Smtp {
    Smtp::new(Server::of_url(&sink.url(), None).unwrap())
}

fn message(number: usize) -> Message {
    let message = Message::builder().from("a@sender.example".parse().unwrap());
    let body = format!("This is message {number}.\r\n.\r\n..and it has points\r\n");
    message.to("b@reader.example".parse().unwrap()).subject(format!("number {number}")).body(body).unwrap()
}

fn outcome(told: Result<(), SendError>) -> Result<(), (Failure, String)> {
    told.map_err(|e| (e.failure, e.text))
}

fn refused(told: Result<(), SendError>, failure: Failure, words: &str) {
    let (kind, text) = outcome(told).unwrap_err();
    assert!(kind == failure && text.contains(words), "{kind:?}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_belongs_to_its_message_and_a_refusal_does_not_end_the_connection() {
    for in_a_row in [true, false] {
        let script = [
            Answer::Accept,
            Answer::Sender("451 4.3.0 sender: not now"),
            Answer::Accept,
            Answer::Recipient("550 5.1.1 no such reader"),
            Answer::Content("552 5.3.4 too long"),
            Answer::Recipient("530 5.7.0 sign in first"),
            Answer::Accept,
        ];
        let sink = sink(&script, in_a_row, Secrecy::None).await;
        let smtp = client(&sink);
        assert_eq!(outcome(smtp.send(&message(0)).await), Ok(()));
        refused(smtp.send(&message(1)).await, Failure::Busy, "sender: not now");
        assert_eq!(outcome(smtp.send(&message(2)).await), Ok(()));
        refused(smtp.send(&message(3)).await, Failure::Permanent, "no such reader");
        refused(smtp.send(&message(4)).await, Failure::Permanent, "too long");
        refused(smtp.send(&message(5)).await, Failure::Unreachable, "sign in first");
        assert_eq!(outcome(smtp.send(&message(6)).await), Ok(()));
        let accepted: Vec<_> = [0, 2, 6].map(|n| String::from_utf8(message(n).formatted()).unwrap()).into();
        let dateless = |mail: &String| mail.lines().filter(|l| !l.starts_with("Date:")).collect::<Vec<_>>().join("\n");
        assert_eq!(
            sink.accepted().iter().map(dateless).collect::<Vec<_>>(),
            accepted.iter().map(dateless).collect::<Vec<_>>()
        );
        assert_eq!((sink.asked(), sink.connections()), (7, 1), "in a row: {in_a_row}");
    }
}

/// Whoever gives up in the middle must not leave a connection behind on which the reply is yet to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_comes_too_late_is_nobody_elses() {
    for in_a_row in [true, false] {
        let script = [Answer::Accept, Answer::Slow(500), Answer::Recipient("550 5.1.1 no such reader"), Answer::Accept];
        let sink = sink(&script, in_a_row, Secrecy::None).await;
        let smtp = client(&sink);
        assert_eq!(outcome(smtp.send(&message(0)).await), Ok(()));
        assert!(timeout(Duration::from_millis(100), smtp.send(&message(1))).await.is_err(), "it is slow");
        tokio::time::sleep(Duration::from_millis(600)).await;
        refused(smtp.send(&message(2)).await, Failure::Permanent, "no such reader");
        assert_eq!(outcome(smtp.send(&message(3)).await), Ok(()));
        assert_eq!((sink.asked(), sink.connections()), (4, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_what_it_refused_gets_nothing() {
    let script = [Answer::Stubborn("550 5.1.1 no such reader"), Answer::Accept];
    let sink = sink(&script, true, Secrecy::None).await;
    let smtp = client(&sink);
    refused(smtp.send(&message(0)).await, Failure::Permanent, "no such reader");
    assert_eq!(outcome(smtp.send(&message(1)).await), Ok(()));
    assert_eq!((sink.accepted().len(), sink.connections()), (1, 2));
    assert!(sink.accepted()[0].contains("This is message 1."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closed_a_kept_connection_is_called_again_and_nobody_notices() {
    for in_a_row in [true, false] {
        let closing = Answer::Sender("421 4.3.2 shutting down");
        let script = [Answer::Leave, Answer::Leave, Answer::Accept, closing, Answer::Accept];
        let sink = sink(&script, in_a_row, Secrecy::None).await;
        let smtp = client(&sink);
        for number in 0..4 {
            assert_eq!(outcome(smtp.send(&message(number)).await), Ok(()), "{number}");
        }
        assert_eq!((sink.accepted().len(), sink.connections()), (4, 4));
    }
}

/// Its fate is unknown: that it may be sent again is for those to say who keep it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_content_was_given_is_not_sent_again_by_itself() {
    let sink = sink(&[Answer::Accept, Answer::HangUp], true, Secrecy::None).await;
    let smtp = client(&sink);
    assert_eq!(outcome(smtp.send(&message(0)).await), Ok(()));
    let (kind, _) = outcome(smtp.send(&message(1)).await).unwrap_err();
    assert_eq!(kind, Failure::Unreachable);
    assert_eq!((sink.asked(), sink.lost().len(), sink.accepted().len()), (2, 1, 1));
}

/// A certificate of its own house, and what checks it.
fn certificate() -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_kept_from_the_first_byte_or_when_both_can_and_never_from_strangers() {
    let (acceptor, ca) = certificate();
    let asked = || Secrecy::Asked(acceptor.clone());
    let always = || Secrecy::Always(acceptor.clone());
    // The name, the server, the URL, whether it is believed; in secret, or not at all.
    let cases = [
        ("smtps", always(), "smtps://u:p@localhost", true, Some(true)),
        ("required", asked(), "smtp://u:p@localhost?tls=required", true, Some(true)),
        ("opportunistic", asked(), "smtp://u:p@localhost?tls=opportunistic", true, Some(true)),
        ("opportunistic, none", Secrecy::None, "smtp://u:p@localhost?tls=opportunistic", true, Some(false)),
        ("none", asked(), "smtp://u:p@localhost", true, Some(false)),
        ("required, none", Secrecy::None, "smtp://u:p@localhost?tls=required", true, None),
        ("smtps, a stranger", always(), "smtps://u:p@localhost", false, None),
        ("required, a stranger", asked(), "smtp://u:p@localhost?tls=required", false, None),
        ("smtps, another name", always(), "smtps://u:p@127.0.0.1", true, None),
    ];
    for (name, secrecy, url, believed, secret) in cases {
        let sink = sink(&[], true, secrecy).await;
        let mut url: url::Url = url.parse().unwrap();
        url.set_port(Some(sink.addr.port())).unwrap();
        let smtp = Smtp::new(Server::of_url(url.as_str(), believed.then_some(ca.as_str())).unwrap());
        for number in 0..3 {
            let told = outcome(smtp.send(&message(number)).await);
            match secret {
                Some(_) => assert_eq!(told, Ok(()), "{name}"),
                None => assert_eq!(told.unwrap_err().0, Failure::Unreachable, "{name}"),
            }
        }
        let how = sink.how();
        assert_eq!(how.len(), if secret.is_some() { 3 } else { 0 }, "{name}");
        // The user and the password, with zeros before them, in base64.
        let signed_in =
            |(in_secret, user): &(bool, String)| Some(*in_secret) == secret && user == "AUTH PLAIN AHUAcA==";
        assert!(how.iter().all(signed_in), "{name}: {how:?}");
        if secret.is_some() {
            assert_eq!(sink.connections(), 1, "{name}");
        }
    }
}
