//! Links that are a permission: who has one may stop messages of one kind on one channel for one person, and nothing
//! else. They hold for good, because e-mails are read for good.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use kit::{
    auth,
    config::{ConfigError, Env, Setting},
};
use sha2::Sha256;
use tourmesh_kit as kit;

use crate::domain::{
    UserId,
    message::{Channel, Kind},
};

/// The key.
pub const LINK_SECRET: Setting = Setting::secret(
    "LINK_SECRET",
    "Signs unsubscribe links; by default derived from MESH_SECRET. Another one makes the links in old e-mails useless.",
);

/// Makes and reads links. Clones are cheap.
#[derive(Clone)]
pub struct Links {
    mac: Hmac<Sha256>,
    base: String,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Links {
    /// With the key of the settings, for the gateway at `base`.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn of_env(env: &Env, base: &str) -> Result<Self, ConfigError> {
        let secret = match env.optional::<String>(&LINK_SECRET)? {
            Some(secret) => secret,
            None => env.get(&auth::MESH_SECRET)?,
        };
        let mac = Hmac::new_from_slice(secret.as_bytes()).map_err(|e| env.error(&LINK_SECRET, &e.to_string()))?;
        Ok(Self { mac, base: base.trim_end_matches('/').to_owned() })
    }

    /// Where messages of this kind are stopped; empty when they cannot be.
    pub fn unsubscribe(&self, user: UserId, channel: Channel, kind: Kind) -> String {
        if kind.is_mandatory() {
            return String::new();
        }
        format!("{}/unsubscribe/{}", self.base, self.token(user, channel, kind))
    }

    fn token(&self, user: UserId, channel: Channel, kind: Kind) -> String {
        let said = format!("{user}:{}:{}", channel.as_str(), kind.as_str());
        let mut signed = self.sign(&said);
        signed.extend_from_slice(said.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(signed)
    }

    /// What a token permits; `None`: it is none of ours.
    pub fn read(&self, token: &str) -> Option<(UserId, Channel, Kind)> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, said) = bytes.split_at_checked(16)?;
        let said = std::str::from_utf8(said).ok()?;
        let expected = self.sign(said);
        let differ = expected.iter().zip(signature).fold(0, |d, (a, b)| d | (a ^ b));
        if differ != 0 {
            return None;
        }
        let mut parts = said.split(':');
        let (user, channel, kind) = (parts.next()?, parts.next()?, parts.next()?);
        Some((user.parse().ok()?, Channel::of_str(channel)?, Kind::of_str(kind)?))
    }

    /// 128 bits.
    fn sign(&self, said: &str) -> Vec<u8> {
        let mut mac = self.mac.clone();
        mac.update(b"tourmesh unsubscribe 1\0");
        mac.update(said.as_bytes());
        mac.finalize().into_bytes().iter().take(16).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(secret: &str) -> Links {
        let pairs = [("TOURMESH_LINK_SECRET".to_owned(), secret.to_owned())];
        Links::of_env(&Env::of("notification", pairs), "https://t.example/").unwrap()
    }

    #[test]
    fn a_link_says_what_it_was_made_for_and_no_changed_one_says_anything() {
        let (links, user) = (links("a"), UserId::new());
        let url = links.unsubscribe(user, Channel::Email, Kind::DepartureReminder);
        let token = url.strip_prefix("https://t.example/unsubscribe/").unwrap();
        assert_eq!(links.read(token), Some((user, Channel::Email, Kind::DepartureReminder)));
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(token).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(links.read(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(self::links("b").read(token), None);
        assert_eq!(links.read(""), None);
        assert_eq!(links.unsubscribe(user, Channel::Email, Kind::BookingConfirmed), "", "that cannot be stopped");
    }
}
