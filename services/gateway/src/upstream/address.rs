//! Where a role answers.

use http::uri::{Authority, Scheme, Uri};

/// The address of a role: plain HTTP/2 inside the mesh; who wants TLS there puts a service mesh under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    authority: Authority,
    port: u16,
}

impl Address {
    /// Reads a URL such as `http://booking:50052`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL such as http://booking:50052: {e}"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(format!("{url:?} is not a URL such as http://booking:50052"));
        };
        if scheme != Scheme::HTTP {
            return Err(format!("{url:?} must begin with http://, roles talk plain HTTP/2 to each other"));
        }
        if parts.path_and_query.is_some_and(|path| path.as_str() != "/") {
            return Err(format!("{url:?} must not have a path"));
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority, port })
    }

    /// What requests name.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What is resolved and connected to.
    pub(super) fn target(&self) -> (&str, u16) {
        // The brackets of an IPv6 literal belong to the URL.
        (self.authority.host().trim_start_matches('[').trim_end_matches(']'), self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_url_without_a_path() {
        assert_eq!(Address::parse("http://booking:50052").unwrap().target(), ("booking", 50052));
        assert_eq!(Address::parse("http://[::1]:50052/").unwrap().target(), ("::1", 50052));
        assert_eq!(Address::parse("http://booking").unwrap().target(), ("booking", 80));
        for wrong in ["", "booking:50052", "https://booking:50052", "http://booking/path", "http://"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
