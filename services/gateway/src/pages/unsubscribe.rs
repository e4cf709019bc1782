//! Where the links in messages lead: one button stops messages of one kind. Mail programs press it themselves
//! (RFC 8058): they post without asking, and without looking at what comes back. A link that is merely looked at, as mail
//! scanners do, stops nothing.

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::get,
};
use kit::{ApiError, ErrorReason};
use tourmesh::notification::v1::{MessageKind, UnsubscribeRequest};
use tourmesh_kit as kit;

use super::{Room, answer, document, page};

pub(super) fn router() -> Router<Room> {
    Router::new().route("/unsubscribe/{token}", get(ask).post(told))
}

/// English, or French for those who prefer it.
fn is_french(headers: &HeaderMap) -> bool {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    wanted.trim_start().to_ascii_lowercase().starts_with("fr")
}

fn language(french: bool) -> &'static str {
    if french { "fr" } else { "en" }
}

/// What a kind is called.
fn name(kind: MessageKind, french: bool) -> &'static str {
    let (en, fr) = match kind {
        MessageKind::PaymentFailed => ("failed payments", "les paiements échoués"),
        MessageKind::WaitingListOffer => ("free seats for those who wait", "les places libérées sur liste d’attente"),
        MessageKind::Receipt => ("receipts", "les reçus"),
        MessageKind::DepartureReminder => ("reminders before a tour", "les rappels avant une visite"),
        _ => ("this subject", "ce sujet"),
    };
    if french { fr } else { en }
}

/// Asks. The form goes to its own address, so no script and no hidden field is needed.
async fn ask(State(room): State<Room>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let french = is_french(&headers);
    let shown = room.notifications.clone().unsubscribe(UnsubscribeRequest { token, only_show: true }).await;
    let kind = match shown {
        Ok(shown) => shown.into_inner().kind(),
        Err(status) => return sorry(&ApiError::of_status(&status), french),
    };
    let subject = name(kind, french);
    let (title, text, button) = if french {
        ("Ne plus recevoir ces messages ?", format!("Vous ne recevrez plus de messages sur {subject}."), "Confirmer")
    } else {
        ("Stop these messages?", format!("You will get no more messages about {subject}."), "Stop them")
    };
    let body = format!(
        "<h1>{title}</h1>\n<p>{text}</p>\n<form method=\"post\">\n\
         <button name=\"List-Unsubscribe\" value=\"One-Click\">{button}</button>\n</form>"
    );
    page(StatusCode::OK, document(language(french), title, &body))
}

/// Stops them.
async fn told(State(room): State<Room>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let french = is_french(&headers);
    match room.notifications.clone().unsubscribe(UnsubscribeRequest { token, only_show: false }).await {
        Ok(done) => {
            let subject = name(done.into_inner().kind(), french);
            let (title, text) = if french {
                (
                    "C’est noté",
                    format!("Vous ne recevrez plus de messages sur {subject}. Vos préférences permettent d’y revenir."),
                )
            } else {
                ("Done", format!("You get no more messages about {subject}. Your preferences bring them back."))
            };
            page(StatusCode::OK, document(language(french), title, &format!("<h1>{title}</h1>\n<p>{text}</p>")))
        }
        Err(status) => sorry(&ApiError::of_status(&status), french),
    }
}

fn sorry(error: &ApiError, french: bool) -> Response {
    let known = matches!(error.reason(), ErrorReason::SignatureInvalid | ErrorReason::FieldInvalid);
    let text = match (known, french) {
        (true, false) => "This link is not complete. Please copy it whole from the message.",
        (true, true) => "Ce lien est incomplet. Merci de le copier en entier depuis le message.",
        (false, false) => "This did not work now. Please try again in a moment.",
        (false, true) => "Cela n’a pas fonctionné. Merci de réessayer dans un instant.",
    };
    page(answer::status(error), document(language(french), "tourmesh", &format!("<h1>tourmesh</h1>\n<p>{text}</p>")))
}
