//! One trace follows a booking through every service and through NATS.

use std::collections::{BTreeSet, HashMap};

use tourmesh_testkit::{OtlpReceiver, ReceivedSpan, eventually};

use crate::process::MeshProcess;

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_follows_a_booking_from_the_gateway_through_nats_to_the_e_mail() {
    let collector = OtlpReceiver::start().await;
    let mut mesh = MeshProcess::new("trace", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
    mesh.up().await;
    let demo = mesh.command(&["demo", "--url", &mesh.gateway(), "--query", ""]).output().unwrap();
    let said = String::from_utf8_lossy(&demo.stdout).into_owned();
    assert!(demo.status.success(), "{said}{}\n{}", String::from_utf8_lossy(&demo.stderr), mesh.log());
    let trace = said.lines().find_map(|l| l.strip_prefix("trace ")).expect("the demo prints its trace id").to_owned();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("demo: booking bkg_") && last.contains(" confirmed and notified in "), "{last}");

    let of_trace = || -> Vec<ReceivedSpan> { collector.spans().into_iter().filter(|s| s.trace_id == trace).collect() };
    let wanted: BTreeSet<&str> =
        ["tourmesh-gateway", "tourmesh-booking", "tourmesh-catalog", "tourmesh-payment", "tourmesh-notification"]
            .into();
    eventually(|| async {
        let spans = of_trace();
        let services: BTreeSet<_> = spans.iter().map(|s| s.service.as_str()).collect();
        let told =
            spans.iter().any(|s| s.service == "tourmesh-notification" && s.name == "process booking.booking.confirmed");
        let known =
            spans.iter().any(|s| s.service == "tourmesh-booking" && s.name == "process payment.payment.captured");
        wanted.is_subset(&services) && told && known
    })
    .await;

    // Parents may be exported a moment after their children.
    eventually(|| async { orphans(&of_trace()).is_empty() }).await;
    let spans = of_trace();
    let by_id: HashMap<&str, &ReceivedSpan> = spans.iter().map(|s| (s.span_id.as_str(), s)).collect();
    // Upwards from the e-mail's event and from the payment's: both were caused by the call to confirm, asked for at the
    // gateway.
    let call = [
        "tourmesh-booking: tourmesh.booking.v1.BookingService/ConfirmBooking",
        "tourmesh-gateway: tourmesh.booking.v1.BookingService/ConfirmBooking",
    ];
    let told = ["tourmesh-notification: process booking.booking.confirmed"];
    let paid = [
        "tourmesh-booking: process payment.payment.captured",
        "tourmesh-payment: tourmesh.payment.v1.PaymentService/CreatePayment",
    ];
    for steps in [[&told[..], &call].concat(), [&paid[..], &call].concat()] {
        let name = |s: &ReceivedSpan| format!("{}: {}", s.service, s.name);
        let mut next = spans.iter().find(|s| name(s) == steps[0]);
        let mut way = Vec::new();
        while let Some(span) = next {
            way.push(name(span));
            next = by_id.get(span.parent_id.as_str()).copied();
        }
        let mut ascending = way.iter();
        for step in &steps {
            assert!(ascending.any(|s| s == step), "{step} is missing or in the wrong place on the way up:\n{way:#?}");
        }
    }
    mesh.stop();
}

/// Spans whose parent has not come in. The root's parent is nobody.
fn orphans(spans: &[ReceivedSpan]) -> Vec<String> {
    let known: BTreeSet<_> = spans.iter().map(|s| s.span_id.as_str()).collect();
    let lost = spans.iter().filter(|s| !s.parent_id.is_empty() && !known.contains(s.parent_id.as_str()));
    lost.map(|s| format!("{}: {}", s.service, s.name)).collect()
}
