//! The sandbox's bank page: where a customer approves a card payment that needs a second step. It is a stand-in for the
//! page of a real bank; with a real provider nobody ever comes here.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::get,
};
use kit::{ApiError, ErrorReason};
use tourmesh::payment::v1::CompleteChallengeRequest;
use tourmesh_kit as kit;

use super::{Room, answer, document, page};

pub(super) fn router() -> Router<Room> {
    Router::new().route("/sandbox/challenges/{challenge}", get(ask).post(told))
}

/// Asks. The form goes to its own address, so no script and no hidden field is needed.
async fn ask(Path(challenge): Path<String>) -> Response {
    let body = format!(
        "<h1>Approve this payment?</h1>\n\
         <p>This is the sandbox's stand-in for your bank. No money moves.</p>\n\
         <p>Payment <code>{}</code></p>\n\
         <form method=\"post\">\n\
         <button name=\"answer\" value=\"approve\">Approve</button>\n\
         <button name=\"answer\" value=\"decline\">Decline</button>\n\
         </form>",
        escaped(&challenge)
    );
    page(StatusCode::OK, document("en", "Approve this payment?", &body))
}

/// Passes the answer on.
async fn told(State(room): State<Room>, Path(challenge): Path<String>, form: Bytes) -> Response {
    let answers = form.split(|b| *b == b'&').find_map(|field| field.strip_prefix(b"answer="));
    let approve = match answers {
        Some(b"approve") => true,
        Some(b"decline") => false,
        _ => return sorry(&ApiError::field("answer", "must be approve or decline")),
    };
    match room.sandbox.clone().complete_challenge(CompleteChallengeRequest { challenge, approve }).await {
        Ok(_) => {
            let done = if approve { "Approved" } else { "Declined" };
            let body = format!("<h1>{done}</h1>\n<p>You can close this page and go back to your booking.</p>");
            page(StatusCode::OK, document("en", done, &body))
        }
        Err(status) => sorry(&ApiError::of_status(&status)),
    }
}

fn sorry(error: &ApiError) -> Response {
    let text = match error.reason() {
        ErrorReason::PaymentNotFound => "There is no such payment, or it was answered before.",
        ErrorReason::FieldInvalid => "This answer could not be read.",
        _ => "This did not work now. Please try again in a moment.",
    };
    page(answer::status(error), document("en", "Not done", &format!("<h1>Not done</h1>\n<p>{text}</p>")))
}

/// Text that stays text between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_comes_from_outside_stays_text() {
        assert_eq!(
            escaped(r#"<img src="x" onerror='a&b'>"#),
            "&lt;img src=&quot;x&quot; onerror=&#39;a&amp;b&#39;&gt;"
        );
        assert_eq!(escaped("ch_é9"), "ch_é9");
    }
}
