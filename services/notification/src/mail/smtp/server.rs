//! Which mail server, and how a connection to it is opened.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use lettre::transport::smtp::{
    SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT,
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters},
    commands::Ehlo,
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use super::{connection::Connection, error::SmtpError};

/// A mail server.
pub struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
    /// How we call ourselves.
    hello: ClientId,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

enum Tls {
    None,
    /// STARTTLS; in the clear where the server has none and it is not required.
    Begun {
        parameters: TlsParameters,
        required: bool,
    },
    /// From the first byte.
    Whole {
        connector: TlsConnector,
        name: ServerName<'static>,
    },
}

/// A URL or a certificate cannot be used. It does not show the URL, which holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);

impl ServerError {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl Server {
    /// That of `smtps://…`, `smtp://…?tls=required`, `smtp://…?tls=opportunistic` or `smtp://…`, with `user:password@`
    /// where one signs in. Certificates are checked with the public roots and those in `ca` (PEM). A path is the name by
    /// which we introduce ourselves.
    ///
    /// # Errors
    /// When the URL is none of these, or the certificates are none.
    pub fn of_url(url: &str, ca: Option<&str>) -> Result<Self, ServerError> {
        let url = Url::parse(url).map_err(ServerError::of)?;
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| ServerError::of("it names no host"))?;
        // An IPv6 address has brackets in a URL and nowhere else.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let wanted = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let (tls, port) = match (url.scheme(), wanted.as_deref()) {
            ("smtp", None) => (Tls::None, SMTP_PORT),
            ("smtp", Some("required")) => (begun(&host, ca, true)?, SUBMISSION_PORT),
            ("smtp", Some("opportunistic")) => (begun(&host, ca, false)?, SUBMISSION_PORT),
            ("smtps", _) => (whole(&host, ca)?, SUBMISSIONS_PORT),
            ("smtp", Some(_)) => return Err(ServerError::of("tls is none of required, opportunistic")),
            _ => return Err(ServerError::of("it begins with neither smtp:// nor smtps://")),
        };
        let plain =
            |text| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(ServerError::of);
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(plain(url.username())?, plain(password)?)),
            None => None,
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        Ok(Self { host, port: url.port().unwrap_or(port), tls, credentials, hello })
    }

    /// Opens a connection and signs in.
    pub(super) async fn connect(&self) -> Result<Connection, SmtpError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // A reply is waited for after each thing that is sent: nothing is gained by holding it back.
        tcp.set_nodelay(true)?;
        let stream: Box<dyn AsyncTokioStream> = match &self.tls {
            Tls::None | Tls::Begun { .. } => Box::new(tcp),
            Tls::Whole { connector, name } => Box::new(Encrypted(connector.connect(name.clone(), tcp).await?)),
        };
        let mut smtp = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await?;
        if let Tls::Begun { parameters, required } = &self.tls
            && (*required || smtp.can_starttls())
        {
            smtp.starttls(parameters.clone(), &self.hello).await?;
        }
        // lettre keeps to itself what it does not use of the first answer.
        let can = smtp.command(Ehlo::new(self.hello.clone())).await?;
        let in_a_row = can.message().any(|line| line.trim().eq_ignore_ascii_case("PIPELINING"));
        if let Some(credentials) = &self.credentials {
            smtp.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(Connection::new(smtp, in_a_row))
    }
}

fn begun(host: &str, ca: Option<&str>, required: bool) -> Result<Tls, ServerError> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    for one in certificates(ca)? {
        parameters = parameters.add_root_certificate(Certificate::from_der(one.to_vec()).map_err(ServerError::of)?);
    }
    Ok(Tls::Begun { parameters: parameters.build().map_err(ServerError::of)?, required })
}

fn whole(host: &str, ca: Option<&str>) -> Result<Tls, ServerError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for one in certificates(ca)? {
        roots.add(one).map_err(ServerError::of)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ServerError::of)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(ServerError::of)?;
    Ok(Tls::Whole { connector: TlsConnector::from(Arc::new(config)), name })
}

fn certificates(pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(ServerError::of)?;
    if all.is_empty() { Err(ServerError::of("there is no certificate in it")) } else { Ok(all) }
}

/// TLS from the first byte. lettre only begins TLS in the middle on streams that are not its own.
#[derive(Debug)]
struct Encrypted(TlsStream<TcpStream>);

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<(String, u16, &'static str, bool), String> {
        let server = Server::of_url(url, None).map_err(|e| e.to_string())?;
        let tls = match server.tls {
            Tls::None => "none",
            Tls::Begun { required: true, .. } => "required",
            Tls::Begun { required: false, .. } => "opportunistic",
            Tls::Whole { .. } => "whole",
        };
        Ok((server.host, server.port, tls, server.credentials.is_some()))
    }

    #[test]
    fn a_url_says_where_and_how() {
        for (url, host, port, tls, signs_in) in [
            ("smtp://mail.example", "mail.example", 25, "none", false),
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, "none", false),
            ("smtp://[::1]:2525", "::1", 2525, "none", false),
            ("smtps://u:p%40ss@mail.example", "mail.example", 465, "whole", true),
            ("smtp://u:p@mail.example?tls=required", "mail.example", 587, "required", true),
            ("smtp://u:p@mail.example:25/me.example?tls=opportunistic", "mail.example", 25, "opportunistic", true),
        ] {
            assert_eq!(of(url), Ok((host.to_owned(), port, tls, signs_in)), "{url}");
        }
        for wrong in
            ["mail.example", "http://mail.example", "smtp://", "smtp://mail.example?tls=perhaps", "smtps://u:p@"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert!(Server::of_url("smtps://mail.example", Some("no certificate")).is_err());
    }
}
