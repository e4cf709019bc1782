//! Text messages, by an HTTP API in the shape of Twilio's, which several telephone companies offer.
//!
//! The API has no key that would make a repeated request harmless. A message whose answer got lost is asked for again,
//! so the gap is the same as that of e-mail, see [`crate::mail`].

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use url::Url;

use crate::{
    courier::SendError,
    domain::retry::Failure,
    out::{Http, HttpError},
};

/// A text message has at most so many characters; more is cut.
const LONGEST: usize = 306;

/// An account at a telephone company.
#[derive(Clone)]
pub struct Sms {
    http: Http,
    messages: Url,
    authorization: HeaderValue,
    from: String,
}

impl std::fmt::Debug for Sms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sms").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Sms {
    /// An account at this base URL.
    ///
    /// # Errors
    /// What is wrong with the settings, without the token.
    pub fn new(http: Http, base: &str, account: &str, token: &str, from: &str) -> Result<Self, String> {
        let path = format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/'));
        let messages = Url::parse(&path).map_err(|e| format!("is no URL: {e}"))?;
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{account}:{token}")));
        let mut authorization = HeaderValue::from_str(&basic).map_err(|e| e.to_string())?;
        authorization.set_sensitive(true);
        Ok(Self { http, messages, authorization, from: from.to_owned() })
    }

    /// Hands a message over.
    ///
    /// # Errors
    /// When it was not accepted.
    pub async fn send(&self, to: &str, text: &str, at_most: std::time::Duration) -> Result<(), SendError> {
        let text: String = text.chars().take(LONGEST).collect();
        let form: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("To", to), ("From", &self.from), ("Body", &text)])
            .finish();
        let headers: Vec<(HeaderName, HeaderValue)> = vec![
            (header::AUTHORIZATION, self.authorization.clone()),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ];
        let answer = self.http.post(&self.messages, headers, form.into(), at_most).await.map_err(|e| match e {
            HttpError::Refused(why) => SendError::never(why),
            HttpError::Unreachable(why) => SendError::new(Failure::Unreachable, why),
        })?;
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let said = |name: &str| json.get(name).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        match answer.status {
            200..=299 => match said("status").as_deref() {
                Some("failed" | "undelivered") => {
                    Err(SendError::never(format!("not delivered: {}", said("error_message").unwrap_or_default())))
                }
                _ => Ok(()),
            },
            status => {
                let why =
                    format!("{status} {} {}", said("code").unwrap_or_default(), said("message").unwrap_or_default());
                Err(SendError::new(failure(status), why))
            }
        }
    }
}

/// What a status means for the next try.
pub(crate) fn failure(status: u16) -> Failure {
    match status {
        429 => Failure::Busy,
        // Our account, our settings, or their trouble: the message is as good as before.
        401 | 402 | 403 | 408 | 500..=599 => Failure::Unreachable,
        _ => Failure::Permanent,
    }
}
